"""`verify`: what is in a store's files against their checks, and where they do not hold. Changes nothing."""

from __future__ import annotations

from streamstore import native
from streamstore.errors import CorruptRangeError
from streamstore.opening import open as open_store


def require_intact(path: str) -> None:
    """Check every frame of every log. Raises CorruptRangeError for the first damaged range."""
    with open_store(path, create=False, read_only=True) as store:
        for info in store.catalog.refresh().streams.values():
            stream = store.stream_of(info)
            for index in stream.written():
                _require_good(stream.log(index), f"{path}: stream {info.name!r}")


def _require_good(log: native.Log, where: str) -> None:
    state = log.state()
    damage, _ = log.verify(state.start, state.visible)
    if damage:
        begin, end = damage[0]["begin"], damage[0]["end"]
        raise CorruptRangeError(f"{where}, {log.shard_id}: bytes {begin} to {end} are damaged")
