"""The Kinesis API over HTTP: `streamstore serve`, and `serve_in_thread` for programs and tests."""

from __future__ import annotations
