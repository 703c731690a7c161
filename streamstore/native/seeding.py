"""The control file of a store that was put together file by file. Knows what the core wants to hear about each log."""

from __future__ import annotations

import os
from collections.abc import Sequence

from streamstore._core import ffi, lib
from streamstore.native.border import call


def seed(path: str, store_id: bytes, epoch_counter: int, logs: Sequence[tuple[int, int, int, int, int]]) -> None:
    """Say how far each log of a new store is durable, so that its first opener need not find out.

    A log is (stream id, shard index, durability as a number, durable end, a frame's position at or below that); one
    that is not named was never written. Durable at return but for the file's name.
    """
    seeds = ffi.new("ss_seed[]", [tuple(log) for log in logs])
    call(path, lib.ss_store_seed, os.fsencode(path), store_id, epoch_counter, seeds, len(logs))
