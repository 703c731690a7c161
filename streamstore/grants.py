"""max_bytes: each shard of a stream is granted a part of it, so that a put looks at one word and at no other shard.

The word is the position beyond which nothing may end. Who comes to it asks here, under a lock of the whole store: what
is free is shared out anew, so that all grants and all that is kept never exceed max_bytes, whatever process writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from streamstore import limits, native, trim
from streamstore.catalog import Catalog
from streamstore.errors import ShardClosedError, StreamFullError
from streamstore.events import StreamInfo
from streamstore.retention import Horizon
from streamstore.values import LogState

SHARE = 8
"""Where the oldest is dropped a segment is at most this part of a shard's share: little goes at once."""
_NOTHING = 1  # no position ends at or below it


class GrantHome(Protocol):
    """What the grants ask of their stream."""

    attachment: native.Attachment
    horizon: Horizon

    @property
    def catalog(self) -> Catalog: ...
    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...
    def written(self) -> list[int]: ...


def ensure(home: GrantHome, info: StreamInfo) -> None:
    """See that no open shard of a stream with max_bytes is without a grant: an incarnation begins without any."""
    if info.max_bytes and not all(home.log(index).limited() for index in info.lineage.open):
        renew(home)


def renew(home: GrantHome) -> None:
    """Share out anew: the settings or the shards are others."""
    with _locked(home):
        _share_out(home, home.check(), {})


def make_room(home: GrantHome, needs: Mapping[int, int]) -> None:
    """Return once each of these shards (by index) was granted so many bytes more; others may take them meanwhile.

    As the stream's on_full says: raises StreamFullError, drops the oldest records, or waits until something is trimmed.
    """
    total = sum(needs.values())
    while True:
        info = home.check()
        seen = home.catalog.position
        with _locked(home):
            if all(_fits(home.log(index), size) for index, size in needs.items()):
                return  # somebody else shared out meanwhile
            if _share_out(home, info := home.check(), needs):
                return
        if info.on_full != "block" or total > info.max_bytes:
            raise StreamFullError(
                f"stream {info.name!r} holds its max_bytes of {info.max_bytes:,}: {total:,} bytes more find no place; "
                "nothing of them was written"
            )
        home.catalog.wait(seen, limits.WAIT_SLICE_US)


def kept(home: GrantHome, info: StreamInfo) -> int:
    """Bytes between start and tail, of all shards; of the closed ones too."""
    return sum(held.tail - held.start for held in (log.held() for log in _there(home, info)))


def _locked(home: GrantHome) -> native.Hold:
    hold = home.attachment.hold(limits.HOLD_GRANTS, wait=True)
    assert hold is not None
    return hold


def _fits(log: native.Log, size: int) -> bool:
    limit = log.limited()
    return not limit or log.held().tail + size <= limit


def _share_out(home: GrantHome, info: StreamInfo, needs: Mapping[int, int]) -> bool:
    """Grant each open shard what it needs and its part of what is left; False where the needs do not fit."""
    shards = info.lineage.open
    logs = {index: home.log(index) for index in shards}
    if not info.max_bytes:
        for log in logs.values():
            log.limit(0)
        return True
    for log in logs.values():
        log.limit(_NOTHING)  # taken under its append lock: no put under an older grant is on its way after this
    drops = info.on_full == "drop_oldest"
    step = max(1, info.max_bytes // len(shards) // SHARE)
    if drops:
        _roll(logs[index] for index in needs if index in logs and _active_size(logs[index].held()) >= step)
    wanted = sum(needs.values())
    free = info.max_bytes - kept(home, info)
    if wanted > free and home.horizon.is_certain():
        _drop(home, info, lambda part, freed: part.arrival_us < home.horizon())
        free = info.max_bytes - kept(home, info)
    if wanted > free and drops and wanted <= info.max_bytes:
        free = _drop_oldest(home, info, wanted, step)
    fits = wanted <= free
    granted = needs if fits else {}
    rest = max(0, free - sum(granted.values())) // len(shards)
    rest = min(rest, step) if drops else rest
    for index, log in logs.items():
        log.limit(max(_NOTHING, log.held().tail + granted.get(index, 0) + rest))
    return fits


def _active_size(held: LogState) -> int:
    return held.tail - held.segment_base


def _roll(logs: Iterable[native.Log]) -> None:
    for log in logs:
        with suppress(ShardClosedError):
            log.roll()


def _there(home: GrantHome, info: StreamInfo) -> list[native.Log]:
    """The logs of all shards that hold anything."""
    living = set(info.lineage.indexes())
    return [home.log(index) for index in home.written() if index in living]


def _drop(home: GrantHome, info: StreamInfo, goes: Callable[[trim.Part, int], bool]) -> None:
    """Drop parts, oldest first, as long as `goes(part, bytes of those before it)`."""
    going, freed = [], 0
    for part in sorted(part for log in _there(home, info) for part in trim.parts(log)):
        if not goes(part, freed):
            break
        going.append(part)
        freed += part.size
    trim.drop(home.catalog, info, home.log, going)


def _drop_excess(home: GrantHome, info: StreamInfo, wanted: int, slack: int) -> int:
    """Drop the oldest sealed parts until `wanted` bytes fit, and some more; returns what is free then."""
    excess = kept(home, info) + wanted + slack - info.max_bytes
    _drop(home, info, lambda part, freed: freed < excess)
    return info.max_bytes - kept(home, info)


def _drop_oldest(home: GrantHome, info: StreamInfo, wanted: int, step: int) -> int:
    """As _drop_excess; where all that is left stands in segments that are written to, those go too."""
    free = _drop_excess(home, info, wanted, step)
    if wanted > free:
        _roll(log for log in _there(home, info) if _active_size(log.held()))
        free = _drop_excess(home, info, wanted, step)
    return free
