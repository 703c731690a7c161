"""streamstore.capture: when it notes how far it is, what it does not note, and whose records those are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import streamstore
from streamstore import InvalidArgumentError, PutEntry, RecordTooLargeError
from streamstore.capture import Capture, captures
from streamstore.capture.ledger import PREFIX
from streamstore.capture.source import Lag, Taken


@pytest.fixture
def copy() -> Iterator[Any]:
    """The stream that captures go into."""
    with streamstore.temporary(durability="process") as store:
        yield store.create_stream("copy")


class Numbers:
    """A source of a hundred numbers, in batches of ten; `before` one of them something may happen."""

    shard_count = 1

    def __init__(self, before: Mapping[int, Callable[[], None]] | None = None, source_id: str = "numbers") -> None:
        self.id = self.name = source_id
        self._before = before or {}
        self._next = self._reached = 0
        self._has: set[int] = set()

    def fit(self, record_size_max: int) -> None:
        """Numbers are small."""

    def restore(self, state: Any) -> None:
        self._next = 0 if state is None else state["next"]

    def seen(self, source: Mapping[str, Any], record: Any) -> None:
        self._has.add(source["number"])

    def batches(self, *, follow: bool) -> Iterator[list[Taken]]:
        for first in range(self._next, 100, 10):
            self._before.get(first, lambda: None)()
            self._reached = first + 10
            yield [self._taken(number) for number in range(first, first + 10) if number not in self._has]

    def _taken(self, number: int) -> Taken:
        source = {"from": self.id, "number": number}
        return Taken("numbers", number, PutEntry(b"%d" % number, "k", source=source))

    def took(self, batch: Any) -> None:
        self._next = self._reached
        self._has = {number for number in self._has if number >= self._next}

    def is_settled(self) -> bool:
        return not self._has

    def state(self) -> Any:
        return {"next": self._next}

    def lag(self) -> Lag:
        return Lag(100 - self._next, "records", 1)

    def notes(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Nothing is open."""


def numbers(stream: Any) -> list[int]:
    """What is in."""
    return [int(record.data) for record in stream.read()]


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("CHECKPOINT_RECORDS", 25, [0, 30, 60, 90, 100]),
    ("CHECKPOINT_SECONDS", 0.0, [*range(0, 110, 10)]),
])  # fmt: skip
def test_a_checkpoint_comes_after_so_many_records_or_seconds(copy, monkeypatch, name, value, expected):
    """At the beginning, then before the batch by which it is due, and at the end."""
    made: list[int] = []
    kept = Capture.checkpoint
    monkeypatch.setattr(Capture, "checkpoint", lambda self: made.append(self.records) or kept(self))
    monkeypatch.setattr(f"streamstore.capture.capturing.{name}", value)
    with Capture(copy, Numbers()) as capture:
        assert capture.run(follow=False)[:2] == (100, 190)
    assert made == expected
    assert captures(copy)["numbers"]["state"] == {"next": 100}


def test_ctrl_c_between_two_batches_leaves_a_checkpoint(copy):
    """A resume has nothing to read, and takes the rest."""
    with Capture(copy, Numbers({50: interrupt})) as capture, pytest.raises(KeyboardInterrupt):
        capture.run()
    with Capture(copy, Numbers()) as capture:
        assert (capture.resumed, capture.run(follow=False).records) == (0, 50)
    assert numbers(copy) == list(range(100))


def test_ctrl_c_in_the_middle_of_a_put_leaves_none(copy, monkeypatch):
    """A half of a batch is found by the next one, which takes the other half."""
    put = streamstore.Stream.put_records

    def half(self: Any, entries: Any, *rest: Any) -> Any:
        if entries[0].data == b"20":
            put(self, entries[:5], *rest)
            raise KeyboardInterrupt
        return put(self, entries, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(streamstore.Stream, "put_records", half)
        with Capture(copy, Numbers()) as capture, pytest.raises(KeyboardInterrupt):
            capture.run()
    with Capture(copy, Numbers()) as capture:
        assert (capture.resumed, capture.run(follow=False).records) == (25, 75)
    assert numbers(copy) == list(range(100))


def test_what_does_not_fit_is_said_by_its_own_error(copy):
    """Not as a part of a batch; what came before it is in."""
    small = copy._home.create_stream("small", max_record_size=2)
    with Capture(small, Numbers()) as capture, pytest.raises(RecordTooLargeError):
        capture.run()
    assert set(numbers(small)) <= set(range(10))


def test_a_source_knows_its_own_records(copy):
    """Those of another one in the same stream are not taken for its."""
    with Capture(copy, Numbers(source_id="a")) as capture:
        capture.take(next(iter(capture.source.batches(follow=False))))
    with Capture(copy, Numbers(source_id="b")) as capture:
        assert (capture.resumed, capture.run(follow=False).records) == (0, 100)
    with Capture(copy, Numbers(source_id="a")) as capture:
        assert (capture.resumed, capture.run(follow=False).records) == (10, 90)
    assert sorted(numbers(copy)) == sorted([*range(100)] * 2)


def test_a_checkpoint_of_a_later_release_is_refused(copy):
    """Rather than read as what it is not."""
    copy.annotate(PREFIX + "numbers", lambda _: {"v": 2, "position": "", "state": {}, "name": ""})
    with pytest.raises(InvalidArgumentError, match="later release"):
        Capture(copy, Numbers())
