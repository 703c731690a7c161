"""The verb `queue`: put, get, ls, dead, restore, purge and work, each a verb of its own below it."""

from __future__ import annotations
