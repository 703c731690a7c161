"""Where queues are kept: the catalog knows a queue as a stream of its own name space, `queue/NAME`, whose shard 0 is
the delivery log; shard 1 takes copies of messages that would otherwise hold old segments (`trim`).

The settings stand with that stream in the catalog, so a queue is made in one event. One engine a queue and store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamstore import clock, inner, iterators, limits, retention, settings
from streamstore.errors import (
    ClosedError,
    InvalidArgumentError,
    InvalidTypeError,
    StreamExistsError,
    StreamNotFoundError,
    StreamStoreError,
)
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


def check(name: Any, options: Mapping[str, Any]) -> None:
    """Raise InvalidTypeError or InvalidArgumentError unless `own` makes a queue of these; nothing is looked up."""
    check_name(name)
    _wanted(options)
    size, count = options.get("max_record_size") or None, options.get("shard_count") or None
    settings.check_stream(name, durability=options.get("durability"), shard_count=count, max_record_size=size)


def own(store: Store, name: str, options: Mapping[str, Any]) -> Engine:
    """The engine of a queue with a stream of its own; both are made where they are not there.

    Raises StreamExistsError where a stream of that name is no queue's, InvalidArgumentError where the queue is there
    with other settings.
    """
    check_name(name)
    wanted = _wanted(options)
    kept = _find(store, name)
    if kept is None:
        kept = _create(store, name, _own_stream(store, name, options), True, wanted, {}, {})
    found = QueueSettings.from_map(kept.extra[SETTINGS])
    for key, value in wanted.items():
        if getattr(found, key) != value:
            raise InvalidArgumentError(
                f"the queue {name!r} is there with {key}={getattr(found, key)!r}, not {value!r}: "
                "leave the option out, or change it with configure()"
            )
    return _engine(store, name, kept)


def over(
    store: Store, name: str, stream: str, options: Mapping[str, Any], annotations: Mapping[str, Any] | None = None
) -> Engine:
    """The engine of a new queue over a stream that others write too; `annotations` are there from its first moment.

    Raises StreamExistsError, StreamNotFoundError.
    """
    check_name(name)
    wanted = {"codec": "bytes", **_wanted(options)}
    source = store.stream(stream)
    if _find(store, name) is not None:
        raise StreamExistsError(f"the queue {name!r} exists already")
    start = options.get("start", "LATEST")
    wanted.update(_asked(iterators.parse(start, source.token)))
    kept = _create(store, name, source.info, False, wanted, inner.starts(source, start), annotations or {})
    return _engine(store, name, kept)


def _asked(start: iterators.Start) -> dict[str, Any]:
    """What was asked for as a start, and the time that this is; 0 for the trim horizon."""
    if start.kind == "TIME":
        return {"start": "AT_TIMESTAMP", "start_us": start.value}
    if start.kind == "TRIM_HORIZON":
        return {"start": start.kind, "start_us": 0}
    return {"start": "LATEST", "start_us": clock.now_us()}


def existing(store: Store, name: str) -> Engine:
    """The engine of a queue that is there. Raises StreamNotFoundError."""
    kept = _find(store, check_name(name))
    if kept is None:
        raise StreamNotFoundError(f"there is no queue {name!r} in {store.path}")
    return _engine(store, name, kept)


def of(store: Store, kept: StreamInfo) -> Engine:
    """The engine of the queue that the catalog described so. Raises StreamNotFoundError."""
    return _engine(store, kept.name[len(PREFIX) :], kept)


def kept_of(store: Store, stream_id: int | None = None) -> dict[str, StreamInfo]:
    """What the catalog says of the queues of the store's account and region, by name, sorted; with a `stream_id`, of
    those over that stream.
    """
    state = store.catalog.refresh()
    found = {
        info.name[len(PREFIX) :]: info
        for (account, region, name), info in list(state.streams.items())
        if name.startswith(PREFIX) and (account, region) == (store.account, store.region)
    }
    return {
        name: info
        for name, info in sorted(found.items())
        if info.extra.get("of") in state.keys and stream_id in (None, info.extra["of"])
    }


def names(store: Store) -> list[str]:
    """The queues of the store's account and region, sorted."""
    return inner.names(store, PREFIX)


def delete(store: Store, name: str) -> None:
    """Delete a queue, and its stream where that is its own."""
    kept = _find(store, check_name(name))
    if kept is None:
        raise StreamNotFoundError(f"there is no queue {name!r} in {store.path}")
    remove(store, kept)


def remove(store: Store, kept: StreamInfo) -> None:
    """Delete the queue that the catalog described so, and its stream where that is its own."""
    found = QueueSettings.from_map(kept.extra[SETTINGS])
    if found.owned:
        store.delete_stream_of(found.stream_id)  # and what is kept about it
    else:
        store.delete_stream_of(kept.id)
    store.parts.pop(f"queue {kept.id}", None)


def tidy(store: Store) -> list[str]:
    """Give back what no queue of the store needs, whosever it is; what went wrong, a line each."""
    problems = []
    for info in list(store.catalog.refresh().streams.values()):
        if not info.name.startswith(PREFIX):
            continue
        try:
            _engine(store, info.name[len(PREFIX) :], info).trimmer.trim()
        except StreamNotFoundError:
            continue  # deleted meanwhile
        except ClosedError:
            raise
        except StreamStoreError as error:
            problems.append(f"queue {info.name[len(PREFIX) :]}: {error}")
    return problems


def configure(store: Store, name: str, options: Mapping[str, Any]) -> None:
    """Change what may be changed."""
    changed = _wanted(options)
    for fixed in ("codec", "key_order"):
        if fixed in changed:
            raise InvalidArgumentError(f"{fixed} is chosen when a queue is made")
    kept = _find(store, name)
    if kept is None:
        raise StreamNotFoundError(f"there is no queue {name!r} in {store.path}")
    store.stream_by_id(kept.id).annotate(SETTINGS, lambda present: {**present, **changed})
    # Said in the delivery log too, so that every process that has the queue open looks at its settings again.
    _engine(store, name, kept).change(lambda state: events.other("configure"), durable=False)


def purge(engine: Engine) -> int:
    """Acknowledge all there is; how many that were."""
    done = 0
    while taken := engine.receive(1_000, 60 * limits.MICROSECONDS):
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
    kept = inner.find(store, PREFIX + name)
    if kept is None or kept.extra["of"] in store.catalog.refresh().keys or store.attachment.read_only:
        return kept
    store.delete_stream_of(kept.id)  # a crash in the middle of a delete left it
    return None


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
    store: Store,
    name: str,
    stream: StreamInfo,
    owned: bool,
    wanted: Mapping[str, Any],
    starts: Mapping[int, Any],
    annotations: Mapping[str, Any],
) -> StreamInfo:
    chosen = QueueSettings(stream_id=stream.id, stream=stream.name, owned=owned, starts=dict(starts), **wanted)
    extra = {**annotations, "owner": "queue", SETTINGS: chosen.to_map(), **inner.RESERVE}
    # Of two who make one queue of its own at once both get it; of two who make one over a stream, one is refused.
    return inner.create(store, PREFIX + name, stream, 2, extra, exist_ok=owned)


def _engine(store: Store, name: str, kept: StreamInfo) -> Engine:
    found = QueueSettings.from_map(kept.extra[SETTINGS])
    inner_stream = store.stream_by_id(kept.id)
    stream = store.stream_by_id(found.stream_id)

    def chosen() -> QueueSettings:
        return QueueSettings.from_map(inner_stream.annotation(SETTINGS))

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
            lambda start: store.catalog.publish("trim", kept, starts={DELIVERIES: start}),
            Source(stream, info, found.starts, forever=found.owned),
            stream.durability,
        )
        engine.explain = inner_stream.explain
        engine.chosen = chosen
        engine.trimmer = Trimmer(engine, stream, lambda: inner_stream.log(COPIES), kept, store.catalog)
        return engine

    return store.part(f"queue {kept.id}", make)
