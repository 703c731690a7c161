"""Capture: a stream of somewhere else, as it was, into a stream of a store; each record exactly once."""

from __future__ import annotations

from streamstore.capture.addresses import open_source
from streamstore.capture.capturing import Capture, Captured
from streamstore.capture.ledger import captures
from streamstore.capture.reading import read_from

__all__ = ["Capture", "Captured", "captures", "open_source", "read_from"]
