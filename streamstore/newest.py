"""The newest records of a stream: by counting back from the tails, shard by shard."""

from __future__ import annotations

from streamstore import native
from streamstore.bounds import Bound, Bounds
from streamstore.cursor import Options
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.iterators import Place
from streamstore.lineage import Lineage
from streamstore.native import Record
from streamstore.reader import Reader, ReaderHome
from streamstore.user_records import TakingApart
from streamstore.values import LogState


def newest(stream: ReaderHome, n: int, apart: TakingApart | None) -> list[Record]:
    """The newest `n` records (of aggregates: user records) of all shards, in arrival order.

    Raises InvalidArgumentError for a negative n.
    """
    if type(n) is not int:
        raise InvalidTypeError(f"n is an int, not {type(n).__name__}")
    if n < 0:
        raise InvalidArgumentError(f"n is {n}; it must not be negative")
    shards = stream.check().lineage
    found: list[Record] = []
    for index in shards.indexes() if n else ():
        ended = shards[index].closed
        if ended is not None and len(found) == n and ended.arrival_us < found[0].arrival_us:
            continue  # all of it is older than what is there
        log = stream.log(index)
        state = log.state()
        if state.record_count > state.start_record_count:
            kept = state.record_count - state.start_record_count
            window = n
            own = _newest_of(stream, shards, log, state, window)
            while len(own) < n and window < kept:  # some are published and not durable yet: nobody knows how many
                window *= 2
                own = _newest_of(stream, shards, log, state, window)
            found += (own if apart is None else apart.apply(index, own)[0])[-n:]
            found.sort(key=lambda record: record.arrival_us)
            found = found[-n:]
    return found


def _newest_of(stream: ReaderHome, shards: Lineage, log: native.Log, state: LogState, n: int) -> list[Record]:
    """What is visible of the newest `n` records of one log."""
    position = log.seek_ordinal(max(state.record_count - n, state.start_record_count) + 1)
    bounds = Bounds(shards, [Bound(log.shard_index, log, Place(position, 0), state.visible)], [], False)
    with Reader(stream, bounds, Options(skip_trimmed=True)) as reader:
        return list(reader)
