"""Replay: a stream again, with its own gaps, faster, slower, at a rate or flat out, to any target."""

from __future__ import annotations

from streamstore.replay.planning import Plan
from streamstore.replay.replaying import Replay, Replayed

__all__ = ["Plan", "Replay", "Replayed"]
