"""Models: second implementations, in plain Python and from the documents alone, to hold the core against."""

from __future__ import annotations
