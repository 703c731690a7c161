"""What the delivery log says: each event as bytes, and the fold that gives them back to the state.

The three that every message costs are packed by hand; the rest are msgpack arrays whose first item is the kind. Their
first bytes cannot be mixed up (an array's is 0x90 or above). docs/format.md has the layout.

    receive    kind 1, flags (1: keys follow), shard, now, visibility, owner, cursor; positions[, keys]
    ack        kind 2, shard; positions
    redeliver  kind 3, shard, now, visibility, owner; positions
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from struct import Struct, error
from typing import Any

import msgpack

from streamstore.errors import FormatVersionError
from streamstore.queue.state import POSITION_MASK, Cursor, Deliveries, name_of, shard_of

RECEIVE, ACK, REDELIVER = 1, 2, 3
_KEYED = 1
_receive = Struct("<BBHIqqQQQQQ")
_ack = Struct("<BBHI")
_redeliver = Struct("<BBHIqqQ")
_ACK_ONE = Struct("<BBHIQ")
_RECEIVE_ONE = Struct("<BBHIqqQQQQQQ")


def receive(
    shard: int, positions: Sequence[int], keys: Sequence[int] | None, cursor: Cursor, times: tuple[int, int, int]
) -> bytes:
    """First deliveries of one shard's records; `times` is (now, visibility, owner)."""
    head = _receive.pack(RECEIVE, _KEYED if keys is not None else 0, 0, shard, *times, *cursor)
    if keys is None:
        return head + _words(positions)
    return head + _words(positions) + _words(keys)


def acknowledge_one(shard: int, position: int) -> bytes:
    return _ACK_ONE.pack(ACK, 0, 0, shard, position)


def acknowledge(shard: int, positions: Sequence[int]) -> bytes:
    return _ack.pack(ACK, 0, 0, shard) + _words(positions)


def redeliver(shard: int, positions: Sequence[int], times: tuple[int, int, int]) -> bytes:
    return _redeliver.pack(REDELIVER, 0, 0, shard, *times) + _words(positions)


def other(kind: str, *values: Any) -> bytes:
    """Any of the rarer events; `values` as the state's method of that name takes them."""
    encoded: bytes = msgpack.packb([kind, *values])
    return encoded


def pairs(names: Iterable[int]) -> list[int]:
    """Messages as the rarer events name them: shard, position, shard, position ..."""
    return [part for name in names for part in (shard_of(name), name & POSITION_MASK)]


def _words(values: Sequence[int]) -> bytes:
    words = array("Q", values)
    return words.tobytes()


def _names(shard: int, data: bytes) -> Sequence[int]:
    words = array("Q")
    words.frombytes(data)
    return words.tolist() if not shard else [name_of(shard, position) for position in words]


class FoldedDeliveries(Deliveries):
    """The state as a journal keeps it. `configured` is called where the queue's settings may have been changed."""

    def __init__(self, configured: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.configured = configured

    def fold(self, event: bytes) -> None:
        """Apply one event. FormatVersionError for one of a later version."""
        kind = event[0]
        try:
            if kind == ACK:
                if len(event) == _ACK_ONE.size:
                    _, _, _, shard, position = _ACK_ONE.unpack(event)
                    self.acknowledge_one(name_of(shard, position))
                else:
                    self.acknowledge(_names(_ack.unpack_from(event)[3], event[8:]))
            elif kind == RECEIVE:
                if len(event) == _RECEIVE_ONE.size:
                    _, _, _, shard, now_us, visibility_us, owner, *cursor, position = _RECEIVE_ONE.unpack(event)
                    name = name_of(shard, position)
                    self.receive_one(shard, name, Cursor(*cursor), now_us, visibility_us, owner)
                    return
                self._fold_receive(event)
            elif kind == REDELIVER:
                _, _, _, shard, now_us, visibility_us, owner = _redeliver.unpack_from(event)
                self.redeliver(_names(shard, event[_redeliver.size :]), now_us, visibility_us, owner)
            else:
                name, *values = msgpack.unpackb(event, strict_map_key=False)
                _HANDLERS[name](self, *values)
        except (KeyError, TypeError, ValueError, IndexError, error) as cause:
            raise FormatVersionError(
                f"a delivery log holds an event that this version cannot read ({cause!r}): upgrade to read it"
            ) from cause

    def _fold_receive(self, event: bytes) -> None:
        _, flags, _, shard, now_us, visibility_us, owner, *cursor = _receive.unpack_from(event)
        rest = event[_receive.size :]
        keys = None
        if flags & _KEYED:
            half = len(rest) // 2
            rest, keys = rest[:half], _names(0, rest[half:])
        self.receive(shard, _names(shard, rest), keys, Cursor(*cursor), (now_us, visibility_us, owner))

    def snapshot(self) -> bytes:
        """The whole state as one event."""
        return other("snapshot", self.to_map())


def _unpaired(parts: Sequence[int]) -> list[int]:
    return [name_of(shard, position) for shard, position in zip(parts[::2], parts[1::2], strict=True)]


def _load(state: FoldedDeliveries, source: dict[str, Any]) -> None:
    state.load(source)
    state.configured()  # what was said before the snapshot was not folded


_HANDLERS: dict[str, Any] = {
    "snapshot": _load,
    "configure": lambda state: state.configured(),
    "attach": FoldedDeliveries.attach,
    "pass": lambda state, shard, cursor, waiting: state.pass_by(shard, Cursor(*cursor), waiting),
    "extend": lambda state, names, *values: state.extend(_unpaired(names), *values),
    "nack": lambda state, names, deadline_us: state.nack(_unpaired(names), deadline_us),
    "die": lambda state, names, now_us, reason: state.die(_unpaired(names), now_us, reason),
    "restore": lambda state, names, now_us: state.restore(_unpaired(names), now_us),
    "vanish": lambda state, names: state.vanish(_unpaired(names)),
    "drop": lambda state, names: state.drop(_unpaired(names)),
    "bury": lambda state, names: state.bury(_unpaired(names)),
    "receive_dead": lambda state, names, deadline_us: state.receive_dead(_unpaired(names), deadline_us),
    "extend_dead": lambda state, names, deadline_us: state.extend_dead(_unpaired(names), deadline_us),
    "expire": lambda state, shard, cursor, horizon, skipped: state.expire(shard, Cursor(*cursor), horizon, skipped),
    "lose": lambda state, shard, cursor: state.lose(shard, Cursor(*cursor)),
    "park": FoldedDeliveries.park,
}
