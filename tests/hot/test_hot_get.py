"""One record through `_hot.get`: found, absent, longer than any stack, refused; over a core of memory."""

from __future__ import annotations

import signal

import pytest
from fake_core import CLOSED, CORRUPT, EPOCH, FIRST, GET, HEADER, INTERRUPTED, TRIMMED, StatusError


@pytest.mark.parametrize("size", [0, 1, 100, 4040, 4048, 4049, 16_384, 100_000])
def test_a_record_is_had_by_its_place(fake, log, size):
    """Whatever its size; it is what a read gives, and keeps no more memory than its frame."""
    fake.put(log, (b"before", "k"), (bytes(size), "key", 5), (b"after", None))
    expected = fake.records(log, buffer_size=1 << 20)[1]
    found = fake.get(log, expected.position)
    assert found == expected
    assert (found.data, found.partition_key, found.explicit_hash_key) == (bytes(size), "key", 5)
    assert found.sequence_number == expected.sequence_number
    assert len(found.view.obj) == found.next_position - found.position
    assert log.calls(GET) == (1 if size <= 4048 - 8 else 2)


def test_what_is_not_there_is_none(fake, log):
    """No record there, none of that epoch; epoch 0 is no record's."""
    fake.put(log, (b"x" * 16, None))
    for position, epoch in ((FIRST, EPOCH + 1), (FIRST, 0), (FIRST + 8, EPOCH), (FIRST + HEADER + 16, EPOCH)):
        assert fake.get(log, position, epoch) is None
    assert fake.get(log).data == b"x" * 16


@pytest.mark.parametrize("status", [TRIMMED, CORRUPT, CLOSED, 5 << 8 | 6])
def test_failures_raise(fake, log, status):
    """The status, the shard and the position go to raise_for."""
    log.script(GET, status, 1)
    with pytest.raises(StatusError) as caught:
        fake.get(log)
    assert caught.value.args == (status, "get of shard-0 at position 64")


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_signal_is_served_and_the_get_goes_on(fake, log, size):
    """The Python handler runs, or raises as Ctrl-C does."""
    fake.put(log, (bytes(size), None))
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        log.script(GET, INTERRUPTED, 2)
        assert fake.get(log).size == size
        assert len(seen) == 2
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        log.script(GET, INTERRUPTED, 1)
        with pytest.raises(KeyboardInterrupt):
            fake.get(log)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "change",
    [
        {"log": 0},
        {"log": None},
        {"shard_index": 1 << 32},
        {"shard_id": 5},
        {"position": -1},
        {"position": 1 << 64},
        {"epoch": 1.5},
        {"epoch": -1},
        {"colour": 1},
    ],
)
def test_bad_parameters_are_refused(fake, log, change):
    """Negative and too large numbers and other types raise, and nothing is read."""
    good = {"log": log.address, "shard_index": 1, "shard_id": "s", "position": FIRST, "epoch": EPOCH}
    with pytest.raises((TypeError, ValueError)):
        fake.hot.get(**{**good, **change})
    assert log.calls(GET) == 0
