"""Streams of the store's own, in which queues and consumers keep what they know; a user can give no stream such a name.

They are streams in every other way: recovered, verified, copied and deleted as such. What they belong to is the stream
`of`: with that one they go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamstore import iterators, limits, retention, settings
from streamstore.events import StreamInfo

if TYPE_CHECKING:
    from streamstore.store import Store
    from streamstore.stream import Stream

RESERVE = {"reserve_size": limits.JOURNAL_RESERVE_SIZE}
"""What a stream's `extra` says where its logs are to keep space for events that free space."""


def create(
    store: Store, name: str, of: StreamInfo, shard_count: int, extra: Mapping[str, Any], *, exist_ok: bool = True
) -> StreamInfo:
    """The stream of the store's own of that name, made where it is not there; `extra` is kept with it.

    Raises StreamExistsError where it is there, unless `exist_ok`.
    """
    wanted = settings.new_stream(
        (store.account, store.region, of.name),
        shard_count=shard_count,
        retention_hours=limits.RETENTION_HOURS_MAX,
        # What it says is shown to other processes at once, and synced by whoever needs that.
        durability="interval" if of.durability == "interval" else "process",
        max_record_size=limits.JOURNAL_RECORD_SIZE_MAX,
        segment_size=None,
    )
    wanted = replace(
        wanted, name=name, retention_us=retention.FOREVER, compact_after_us=-1, extra={"of": of.id, **extra}
    )
    return store.catalog.create(wanted, exist_ok=exist_ok)


def find(store: Store, name: str) -> StreamInfo | None:
    """The one of that name."""
    return store.catalog.refresh().streams.get((store.account, store.region, name))


def names(store: Store, prefix: str) -> list[str]:
    """What follows the prefix in the names of those that begin with it, sorted."""
    found = store.catalog.refresh().streams
    return sorted(
        name[len(prefix) :]
        for account, region, name in found
        if name.startswith(prefix) and (account, region) == (store.account, store.region)
    )


def starts(stream: Stream, start: Any) -> dict[int, tuple[int, int]]:
    """Where a start lies in each shard that is there now, as (position, records before it); {} for TRIM_HORIZON.

    What lies before it is durable at return: after a power cut no other record stands there. Raises
    InvalidArgumentError, InvalidTypeError.
    """
    begin = iterators.parse(start, stream.token)
    if begin.kind == "TRIM_HORIZON":
        return {}
    found = {}
    for shard in stream.shards():
        log = stream.log(shard.index)
        state = log.state()
        position = iterators.resolve(iterators.place_in(begin, shard.id), log).position
        log.sync(position)
        first = log.read(position, 0, 1, 4 * limits.KIB)[0]
        found[shard.index] = (position, first[0].ordinal - 1 if first else state.record_count)
    return found
