"""Where queues are kept: the catalog knows a queue as a stream of its own name space, `queue/NAME`, whose shard 0 is
the delivery log; shard 1 takes copies of messages that would otherwise hold old segments (`trim`).

The settings stand with that stream in the catalog, so a queue is made in one event. One engine a queue and store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamstore import iterators, limits, retention, routing, settings
from streamstore.errors import InvalidArgumentError, InvalidTypeError, StreamExistsError, StreamNotFoundError
from streamstore.events import StreamInfo
from streamstore.queue import events
from streamstore.queue.engine import Engine, Receipt
from streamstore.queue.settings import QueueSettings, check_name, parse
from streamstore.queue.source import Source
from streamstore.queue.state import POSITION_MASK, position_of, shard_of
from streamstore.queue.trim import Trimmer

if TYPE_CHECKING:
    from streamstore.store import Store

PREFIX = "queue/"
"""No stream of a user's can be called so."""
SETTINGS = "queue"
DELIVERIES, COPIES = 0, 1  # the shards of that stream
_STREAM_OPTIONS = ("shard_count", "durability", "max_record_size", "start", "codec")

hash_key = routing.hash_key


def own(store: Store, name: str, options: Mapping[str, Any]) -> Engine:
    """The engine of a queue with a stream of its own; both are made where they are not there.

    Raises StreamExistsError where a stream of that name is no queue's, InvalidArgumentError where the queue is there
    with other settings.
    """
    check_name(name)
    wanted = _wanted(options)
    inner = _find(store, name)
    if inner is None:
        inner = _create(store, name, _own_stream(store, name, options), True, wanted, {})
    found = QueueSettings.from_map(inner.extra[SETTINGS])
    for key, value in wanted.items():
        if getattr(found, key) != value:
            raise InvalidArgumentError(
                f"the queue {name!r} is there with {key}={getattr(found, key)!r}, not {value!r}: "
                "leave the option out, or change it with configure()"
            )
    return _engine(store, name, inner)


def over(store: Store, name: str, stream: str, options: Mapping[str, Any]) -> Engine:
    """The engine of a new queue over a stream that others write too. Raises StreamExistsError, StreamNotFoundError."""
    check_name(name)
    wanted = {"codec": "bytes", **_wanted(options)}
    info = store.stream(stream).info
    if _find(store, name) is not None:
        raise StreamExistsError(f"the queue {name!r} exists already")
    starts = _starts(store, stream, options.get("start", "LATEST"))
    return _engine(store, name, _create(store, name, info, False, wanted, starts))


def existing(store: Store, name: str) -> Engine:
    """The engine of a queue that is there. Raises StreamNotFoundError."""
    inner = _find(store, check_name(name))
    if inner is None:
        raise StreamNotFoundError(f"there is no queue {name!r} in {store.path}")
    return _engine(store, name, inner)


def names(store: Store) -> list[str]:
    """The queues of the store's account and region, sorted."""
    state = store.catalog.refresh()
    return sorted(
        name[len(PREFIX) :]
        for account, region, name in state.streams
        if name.startswith(PREFIX) and (account, region) == (store.account, store.region)
    )


def delete(store: Store, name: str) -> None:
    """Delete a queue, and its stream where that is its own."""
    inner = _find(store, check_name(name))
    if inner is None:
        raise StreamNotFoundError(f"there is no queue {name!r} in {store.path}")
    found = QueueSettings.from_map(inner.extra[SETTINGS])
    if found.owned:
        # A crash in between leaves a queue without a stream, which the next delete, or own(), meets and removes.
        store.delete_stream_of(found.stream_id)
    store.delete_stream_of(inner.id)
    store.parts.pop(f"queue {inner.id}", None)


def configure(store: Store, name: str, options: Mapping[str, Any]) -> None:
    """Change what may be changed."""
    changed = _wanted(options)
    for fixed in ("codec", "key_order"):
        if fixed in changed:
            raise InvalidArgumentError(f"{fixed} is chosen when a queue is made")
    inner = _find(store, name)
    if inner is None:
        raise StreamNotFoundError(f"there is no queue {name!r} in {store.path}")
    store.stream_by_id(inner.id).annotate(SETTINGS, lambda present: {**present, **changed})


def purge(engine: Engine) -> int:
    """Acknowledge all there is; how many that were."""
    done = 0
    while taken := engine.receive(1_000, 60 * limits.MICROSECONDS, engine.owner):
        engine.acknowledge([(name, number) for _, name, number, _, _ in taken])
        done += len(taken)
    left: list[int] = []

    def decide(state: Any) -> bytes | None:
        left[:] = [*state.live, *state.dead]
        return events.other("drop", events.pairs(left)) if left else None

    engine.change(decide)
    return done + len(left)


def parse_receipt(text: Any) -> Receipt:
    """The receipt of a text that `message.receipt` gave. Raises InvalidArgumentError, InvalidTypeError."""
    if not isinstance(text, str):
        raise InvalidTypeError(f"a receipt is a str or a Message, not {type(text).__name__}")
    parts = text.split("-")
    if len(parts) == 3 and all(part.isascii() and part.isdecimal() and len(part) <= 20 for part in parts):
        shard, position, number = map(int, parts)
        if position <= POSITION_MASK:
            return shard << 64 | position, number
    raise InvalidArgumentError(f"{text!r} is no receipt")


def receipt_text(receipt: Receipt) -> str:
    """A receipt as text, for whoever settles the message elsewhere."""
    name, number = receipt
    return f"{shard_of(name)}-{position_of(name)}-{number}"


def _wanted(options: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {key: value for key, value in options.items() if key not in _STREAM_OPTIONS}
    codec = options.get("codec")
    if codec is not None:
        # A caller's own pair is not kept; the queue then says nothing about its bodies.
        chosen["codec"] = codec if isinstance(codec, str) else None
    return parse(chosen)


def _find(store: Store, name: str) -> StreamInfo | None:
    return store.catalog.refresh().streams.get((store.account, store.region, PREFIX + name))


def _own_stream(store: Store, name: str, options: Mapping[str, Any]) -> StreamInfo:
    durability = options.get("durability")
    wanted = settings.new_stream(
        (store.account, store.region, name),
        shard_count=options.get("shard_count") or 1,
        retention_hours=limits.RETENTION_HOURS_MAX,
        durability=store.durability if durability is None else durability,
        max_record_size=options.get("max_record_size") or limits.RECORD_SIZE_DEFAULT,
        segment_size=limits.QUEUE_SEGMENT_SIZE,
    )
    # Nothing of it expires by time: its records go when they are acknowledged.
    wanted = replace(wanted, retention_us=retention.FOREVER, compact_after_us=-1, extra={"owner": "queue"})
    found = store.catalog.create(wanted, exist_ok=True)
    if found.extra.get("owner") != "queue":
        raise StreamExistsError(
            f"there is a stream {name!r}, and it is no queue's: create_queue(name, stream={name!r}) makes one over it"
        )
    return found


def _create(
    store: Store, name: str, stream: StreamInfo, owned: bool, wanted: Mapping[str, Any], starts: Mapping[int, Any]
) -> StreamInfo:
    chosen = QueueSettings(stream_id=stream.id, stream=stream.name, owned=owned, starts=dict(starts), **wanted)
    inner = settings.new_stream(
        (store.account, store.region, name),
        shard_count=2,
        retention_hours=limits.RETENTION_HOURS_MAX,
        # Receives are never synced, and shown to other processes at once; who needs more syncs by itself.
        durability="interval" if stream.durability == "interval" else "process",
        max_record_size=limits.JOURNAL_RECORD_SIZE_MAX,
        segment_size=None,
    )
    inner = replace(
        inner,
        name=PREFIX + name,
        retention_us=retention.FOREVER,
        compact_after_us=-1,
        extra={"owner": "queue", SETTINGS: chosen.to_map()},
    )
    return store.catalog.create(inner, exist_ok=True)


def _starts(store: Store, stream: str, start: Any) -> dict[int, tuple[int, int]]:
    if start == "TRIM_HORIZON":
        return {}
    found = store.stream(stream)
    starts = {}
    for shard in found.shards():
        log = found.log(shard.index)
        state = log.state()
        position, records = state.tail, state.record_count
        if start != "LATEST":
            position = iterators.resolve(iterators.Start("TIME", iterators.time_us(start, "start")), log).position
            first = log.read(position, 0, 1, 4 * limits.KIB)[0]
            records = first[0].ordinal - 1 if first else records
        starts[shard.index] = (position, records)
    return starts


def _engine(store: Store, name: str, inner: StreamInfo) -> Engine:
    found = QueueSettings.from_map(inner.extra[SETTINGS])
    inner_stream = store.stream_by_id(inner.id)
    stream = store.stream_by_id(found.stream_id)

    def info() -> StreamInfo | None:
        state = store.catalog.refresh()
        key = state.keys.get(found.stream_id)
        return None if key is None else state.streams[key]

    def make() -> Engine:
        engine = Engine(
            name,
            found,
            store.attachment,
            lambda: inner_stream.log(DELIVERIES),
            lambda start: store.catalog.publish("trim", inner, starts={DELIVERIES: start}),
            Source(stream, info, found.starts, forever=found.owned),
            stream.durability,
        )
        engine.explain = inner_stream.explain
        engine.trimmer = Trimmer(engine, stream, lambda: inner_stream.log(COPIES), inner, store.catalog)
        return engine

    return store.part(f"queue {inner.id}", make)
