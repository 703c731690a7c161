"""Dead letters: messages that no receive helped, kept until somebody restores or removes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamstore import clock
from streamstore.errors import InvalidArgumentError, StaleReceiptError
from streamstore.native import Record, sequence_number
from streamstore.queue import events
from streamstore.queue.engine import Engine, name_text
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.settings import count, visibility_us
from streamstore.queue.state import Dead, position_of, shard_of

if TYPE_CHECKING:
    from streamstore.queue.queue import Queue


class DeadLetter:
    """One dead letter as it was when it was listed or received."""

    __slots__ = ("_queue", "letter", "name", "number", "record")

    def __init__(self, queue: Queue, name: int, letter: Dead, record: Record) -> None:
        self._queue = queue
        self.name = name
        self.letter = letter
        self.number = letter.number
        self.record = record

    def __repr__(self) -> str:
        return f"<DeadLetter {self.id} of {self._queue.name!r}: {self.reason}>"

    @property
    def body(self) -> Any:
        """What was put, decoded. Raises what the codec raises."""
        return self._queue.codec.decode(self.record.data)

    @property
    def data(self) -> bytes:
        return self.record.data

    @property
    def id(self) -> str:
        """The message's own number, as `message.id`."""
        return sequence_number(self.record.epoch, position_of(self.name), shard_of(self.name))

    @property
    def key(self) -> str | None:
        return self.record.partition_key

    @property
    def reason(self) -> str:
        """Why it died."""
        return self.letter.reason

    @property
    def receive_count(self) -> int:
        """How often it had been received."""
        return self.letter.receives

    @property
    def died(self) -> datetime:
        return clock.to_datetime(self.letter.died_us)

    def restore(self) -> None:
        """Put it back into the queue with no receives counted; durable as an ack. Raises StaleReceiptError."""
        self._queue.dead_letters.change("restore", (self,))

    def ack(self) -> None:
        """Remove it for good; durable as an ack. Raises StaleReceiptError."""
        self._queue.dead_letters.change("bury", (self,))

    def extend(self, seconds: float) -> None:
        """Keep other receivers of dead letters away from it for `seconds` (0 to 43,200)."""
        self._queue.dead_letters.extend(self, seconds)


class DeadLetters:
    """The dead letters of a queue: iterate, receive, restore, purge."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._engine: Engine = queue.engine

    def __len__(self) -> int:
        """How many there are."""
        with self._engine.journal.lock:
            return len(self._swept().dead)

    def __iter__(self) -> Iterator[DeadLetter]:
        """All of them, in the order of their numbers, as of now."""
        with self._engine.journal.lock:
            letters = sorted(self._swept().dead.items())
        for name, letter in letters:
            with self._engine.journal.lock:
                record = self._engine.fetch(name)
            if record is not None:
                yield DeadLetter(self._queue, name, letter, record)

    def list(self) -> Sequence[DeadLetter]:
        """All of them."""
        return [*self]

    def _swept(self) -> FoldedDeliveries:
        return _swept(self._engine)

    def receive(self, n: int = 1, *, visibility: float = 30) -> Sequence[DeadLetter]:
        """Up to `n` that no other receiver has, kept from others for `visibility` seconds (0 to 43,200)."""
        count("n", n, 1, 10_000)
        return [DeadLetter(self._queue, *item) for item in receive(self._engine, n, visibility_us(visibility))]

    def change(self, event: str, letters: Iterable[DeadLetter]) -> None:
        """Restore or bury these. Raises StaleReceiptError where one was received by another, or is gone."""
        chosen = list(letters)

        def decide(state: FoldedDeliveries) -> bytes:
            for item in chosen:
                found = state.dead.get(item.name)
                if found is None or found.number != item.number:
                    raise StaleReceiptError(f"dead letter {name_text(item.name)} was received by another, or is gone")
            names = events.pairs(item.name for item in chosen)
            return events.other(event, names, clock.boot_us()) if event == "restore" else events.other(event, names)

        self._engine.change(decide)
        if event == "restore":
            self._engine.wake()

    def extend(self, letter: DeadLetter, seconds: float) -> None:
        """What letter.extend does."""
        us = visibility_us(seconds)

        def decide(state: FoldedDeliveries) -> bytes:
            found = state.dead.get(letter.name)
            if found is None or found.number != letter.number:
                raise StaleReceiptError(f"dead letter {name_text(letter.name)} was received by another, or is gone")
            return events.other("extend_dead", events.pairs([letter.name]), clock.boot_us() + us)

        self._engine.change(decide, durable=False)

    def restore(self, ids: Iterable[str] | None = None) -> int:
        """Put all (or those of these message ids) back into the queue; how many. Durable as an ack."""
        return self._each("restore", ids)

    def purge(self, ids: Iterable[str] | None = None) -> int:
        """Remove all (or those of these message ids) for good; how many. Durable as an ack."""
        return self._each("bury", ids)

    def _each(self, event: str, ids: Iterable[str] | None) -> int:
        chosen = None if ids is None else {_name_of(id) for id in ids}
        done: list[int] = []

        def decide(state: FoldedDeliveries) -> bytes | None:
            done[:] = [name for name in state.dead if chosen is None or name in chosen]
            if not done:
                return None
            names = events.pairs(sorted(done))
            return events.other(event, names, clock.boot_us()) if event == "restore" else events.other(event, names)

        with self._engine.journal.lock:
            self._swept()
        self._engine.change(decide)
        if done and event == "restore":
            self._engine.wake()
        return len(done)


def _swept(engine: Engine) -> FoldedDeliveries:
    """The state, with what was received too often and has come due turned into dead letters."""
    engine.state()
    engine.journal.refresh()
    if not engine.attachment.read_only:
        engine.sweep()
    return engine.journal.state


def receive(engine: Engine, n: int, visibility_us: int) -> list[tuple[int, Dead, Record]]:
    """Up to `n` dead letters that no receiver has, kept from others for so long: (name, letter, record). What
    retention took is none any more.
    """
    with engine.journal.lock:
        while True:
            state = _swept(engine)
            now_us = clock.boot_us()
            records, gone = _readable(engine, state, now_us, n)
            if gone:
                engine.journal.append(events.other("vanish", events.pairs(gone)))
                continue
            if not records:
                return []
            # As they will be: an append that cuts the journal folds what others did behind it.
            given: dict[str, Any] = {"number": state.number + 1, "deadline_us": now_us + visibility_us}
            found = [(name, state.dead[name]._replace(**given), record) for name, record in records.items()]
            if engine.journal.append(events.other("receive_dead", events.pairs(records), now_us + visibility_us)):
                return found


def _readable(engine: Engine, state: FoldedDeliveries, now_us: int, n: int) -> tuple[dict[int, Record], list[int]]:
    """The first `n` dead letters that nobody has, and those that retention took; what is damaged is passed over."""
    records: dict[int, Record] = {}
    gone = []
    for name in sorted(name for name, letter in state.dead.items() if letter.deadline_us <= now_us):
        if len(records) == n:
            break
        record = engine.fetch(name)
        if record is not None:
            records[name] = record
        elif name not in state.moved and position_of(name) < engine.source.log(shard_of(name)).state().start:
            gone.append(name)
    return records, gone


def _name_of(id: str) -> int:
    from streamstore.native import parse_sequence_number

    if not isinstance(id, str):
        raise InvalidArgumentError(f"a message id is a str, not {type(id).__name__}")
    _, position, shard = parse_sequence_number(id)
    return shard << 64 | position
