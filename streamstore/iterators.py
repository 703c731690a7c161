"""Where a read starts: what callers may say, checked and made into one Start, and where that is in a given log.

Also the positions that callers keep: plain dicts that json carries,

    {"v": 1, "stream": "<store id>/<stream number>", "shards": {"shardId-000000000000": [position, epoch], ...}}

where the epoch is that of the last record before the position (or of the log when it was bound), because after a
power cut the same bytes may hold other records under a later epoch. A third number says that so many user records of
the aggregate at the position itself, of that epoch, are done with. Pure, bar the questions put to the log that is
handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from streamstore import clock
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.values import LogState, Position

VERSION = 1


class Start(NamedTuple):
    """One of: ("TRIM_HORIZON",), ("LATEST",), ("TIME", us), ("POSITION", shards), ("AT" | "AFTER", (epoch,
    position)).
    """

    kind: str
    value: Any = None


class Place(NamedTuple):
    """A byte position in one log, and the epoch of what stands before it; or, where `part` user records of the
    aggregate there are done with, the epoch of that.
    """

    position: int
    epoch: int
    part: int = 0


class Seekable(Protocol):
    """What a log must answer for a Start to be found in it."""

    def state(self) -> LogState: ...
    def seek(self, position: int) -> int: ...
    def seek_time(self, arrival_us: int) -> int: ...
    def epoch_after(self, epoch: int) -> int: ...


def parse(value: Any, stream_token: str) -> Start:
    """What a caller gave as `start` or `end`.

    Raises InvalidArgumentError (an unknown word, a naive datetime, a position of another stream) or InvalidTypeError.
    """
    if isinstance(value, str):
        if value not in ("TRIM_HORIZON", "LATEST"):
            raise InvalidArgumentError(
                f"{value!r} is no start: use 'TRIM_HORIZON', 'LATEST', an aware datetime, seconds since 1970 or a "
                "saved position"
            )
        return Start(value)
    if isinstance(value, Mapping):
        return Start("POSITION", _parse_position(value, stream_token))
    try:
        return Start("TIME", clock.to_us(value))
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None
    except TypeError:
        raise InvalidTypeError(
            f"a start is 'TRIM_HORIZON', 'LATEST', an aware datetime, seconds since 1970 or a saved position, "
            f"not {type(value).__name__}"
        ) from None


def time_us(value: datetime | int | float, what: str) -> int:
    """Microseconds of a caller's time, with the package's own errors."""
    try:
        return clock.to_us(value)
    except ValueError as error:
        raise InvalidArgumentError(f"{what}: {error}") from None
    except TypeError as error:
        raise InvalidTypeError(f"{what}: {error}") from None


def timeout_us(value: float | None) -> int:
    """Microseconds of a caller's timeout, -1 for None."""
    try:
        return clock.timeout_us(value)
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None
    except TypeError as error:
        raise InvalidTypeError(str(error)) from None


def make_position(stream_token: str, places: Mapping[str, Place]) -> Position:
    """The dict a caller keeps."""
    return {
        "v": VERSION,
        "stream": stream_token,
        "shards": {shard_id: _listed(place) for shard_id, place in places.items()},
    }


def _listed(place: Place) -> list[int]:
    return [*place] if place.part else [place.position, place.epoch]


def _parse_position(value: Mapping[str, Any], stream_token: str) -> dict[str, Place]:
    if value.get("v") != VERSION or not isinstance(value.get("shards"), Mapping):
        raise InvalidArgumentError(
            "this dict is no position of ours: pass what reader.position, batch.next_position or shard.tail gave"
        )
    if value.get("stream") != stream_token:
        raise InvalidArgumentError(
            f"this position belongs to another stream ({value.get('stream')}, not {stream_token})"
        )
    places = {}
    for shard_id, item in value["shards"].items():
        if (
            not isinstance(item, (list, tuple))
            or len(item) not in (2, 3)
            or not all(type(part) is int and 0 <= part < 1 << 63 for part in item)
        ):
            raise InvalidArgumentError(f"this position is damaged: {shard_id!r} has {item!r}")
        places[shard_id] = Place(*item)
    return places


def place_in(start: Start, shard_id: str) -> Start:
    """A POSITION start cut down to one shard; InvalidArgumentError where it does not know that shard."""
    if start.kind != "POSITION":
        return start
    if shard_id not in start.value:
        raise InvalidArgumentError(
            f"this position belongs to other shards ({', '.join(sorted(start.value)[:3])}), not to {shard_id}"
        )
    return Start("POSITION", start.value[shard_id])


def resolve(start: Start, log: Seekable) -> Place:
    """The place of a Start (already cut down to one shard) in this log, bound now."""
    state = log.state()
    if start.kind == "TRIM_HORIZON":
        return Place(state.start, 0)
    if start.kind == "LATEST":
        return Place(state.visible, state.epoch)
    if start.kind == "TIME":
        return Place(log.seek_time(start.value), 0)
    if start.kind == "POSITION":
        place = resume(log, state, start.value.epoch, start.value.position)
        wanted = place.position
        if start.value.part and state.start <= wanted < state.tail and log.seek(wanted) == start.value.position:
            return Place(wanted, place.epoch, start.value.part)
    else:
        epoch, number = start.value
        place = resume(log, state, epoch, number)
        # Frames are longer than 8 bytes, so the next boundary after one is the first at or after its position + 8.
        wanted = place.position + (8 if start.kind == "AFTER" and place.position == number else 0)
    if not state.start <= wanted < state.tail:
        return Place(max(wanted, place.position) if wanted < state.start else min(wanted, state.tail), place.epoch)
    return Place(log.seek(wanted), place.epoch)


def resume(log: Seekable, state: LogState, epoch: int, position: int) -> Place:
    """Where to go on that had reached `position` under `epoch`.

    What an unsynced tail lost to a power cut is written over under a later epoch: where that begins below `position`,
    that is the place. Records that were only copied, because a sync of them was in doubt, keep their epochs. A position
    not written yet waits at the tail.
    """
    if position < state.start:
        return Place(position, epoch)
    if epoch and (epoch != state.epoch or position > state.tail):
        later = log.epoch_after(epoch)
        if later < position:
            return Place(max(later, state.start), epoch)
    if position > state.tail:
        return Place(state.tail, epoch)
    return Place(position, epoch)
