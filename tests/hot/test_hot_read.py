"""Reading through `_hot`: chunks, limits, damage and what is kept in memory; over a core of memory."""

from __future__ import annotations

import gc
import resource
import signal
import threading
import time
from pathlib import Path

import pytest
from fake_core import CLOSED, CORRUPT, FIRST, HEADER, INTERRUPTED, OK, POISONED, READ, SMALL, TRIMMED, Fake, StatusError


def fill(fake, log, count, size=16):
    """Put `count` records of `size` bytes, numbered from 0; no key, so that a frame is header and data."""
    fake.put(log, *[(b"%0*d" % (size, i), None) for i in range(count)])
    return HEADER + size


def numbers(result):
    return [int(record.data) for record in result[0]]


def test_an_empty_log_gives_nothing(fake, log):
    """No records, and the position stays."""
    assert fake.read(log) == ([], FIRST, FIRST, False, OK, 0, 0, False)


def test_a_read_gives_all_there_is(fake, log):
    """All records in order, the position after them, the visible end."""
    frame = fill(fake, log, 100)
    result = fake.read(log)
    assert numbers(result) == list(range(100))
    assert result[1:] == (FIRST + 100 * frame, FIRST + 100 * frame, False, OK, 0, 0, False)
    assert [record.ordinal for record in result[0]] == list(range(1, 101))


def names(log):
    """All parameters of a read, by name."""
    place = {"log": log.address, "shard_index": 1, "shard_id": "s", "position": FIRST, "end": 0}
    return {**place, "limit": 2, "buffer_size": 999}


def test_read_takes_keywords(fake, log):
    """All parameters have names."""
    fill(fake, log, 3)
    assert numbers(fake.hot.read(**names(log))) == [0, 1]


@pytest.mark.parametrize("limit", [1, 2, 15, 16, 17, 99, 100, 101, 1 << 62])
@pytest.mark.parametrize("size", [8, 1000])
def test_a_read_stops_at_its_limit(fake, log, limit, size):
    """At most `limit` records, whatever the size of the array that they are decoded into."""
    frame = fill(fake, log, 100, size)
    result = fake.read(log, limit=limit, buffer_size=1 << 20)
    assert numbers(result) == list(range(min(limit, 100)))
    assert result[1] == FIRST + frame * min(limit, 100)


@pytest.mark.parametrize("end_after", [0, 1, 50, 100])
def test_a_read_stops_at_its_end(fake, log, end_after):
    """Nothing at or after `end` is read; 0 means all."""
    frame = fill(fake, log, 100)
    assert len(fake.read(log, end=FIRST + frame * end_after)[0]) == end_after
    assert len(fake.read(log, end=0)[0]) == 100


def test_chunks_follow_one_another(fake, log):
    """Reading on from the next position gives every record once."""
    fill(fake, log, 1000, 30)
    found, position = [], FIRST
    while True:
        records, position, visible, *_ = fake.read(log, position=position, buffer_size=4000)
        found += [int(record.data) for record in records]
        assert sum(record.next_position - record.position for record in records) <= 4000
        if position >= visible:
            break
    assert found == list(range(1000))


def test_records_of_later_calls_show_their_own_bytes(fake, log):
    """Many small frames need several calls into the core; all point to the right place of the chunk."""
    fake.put(log, *[(b"", f"k{i}", i) for i in range(3000)])
    records = fake.records(log, limit=5000, buffer_size=200_000)
    assert log.calls(READ) == 2
    assert [record.partition_key for record in records] == [f"k{i}" for i in range(3000)]
    assert len({id(record.view.obj) for record in records}) == 1


def test_encrypted_records_of_later_calls_show_their_own_seals(fake, log):
    """Those of a second call were once looked for among the first frames; plain ones have none, wherever they stand."""
    fake.put(log, *[(b"%032d" % i, "k") for i in range(3000)])
    log.seal()
    fake.put(log, *[(b"plain", "k") for _ in range(500)])
    records, _, _, _, status, _, _, sealed = fake.read(log, limit=5000, buffer_size=300_000)
    assert (status, sealed, len(records), log.calls(READ)) == (OK, True, 3500, 2)
    for i, record in enumerate(records[:3000]):
        assert fake.hot.sealed_parts(record, 1)[1] == (b"%032d" % i)[4:16]
    assert {record.seal_offset for record in records[3000:]} == {0}


@pytest.mark.parametrize("buffer_size", [1, 100, HEADER + 4000 - 8])
def test_a_record_longer_than_the_buffer_is_read(fake, log, buffer_size):
    """The chunk grows to the one frame that does not fit."""
    fill(fake, log, 3, 4000)
    assert numbers(fake.read(log, buffer_size=buffer_size)) == [0]


def test_a_buffer_that_is_too_small_for_nothing_is_an_error(fake, log):
    """A core that wants more room than it has, and does not say how much, is not asked for ever."""
    fill(fake, log, 3)
    log.script(READ, SMALL, 1 << 30)
    with pytest.raises(StatusError) as told:
        fake.read(log)
    assert told.value.args[0] == SMALL
    assert log.calls(READ) == 1


def test_a_long_record_waits_for_its_own_chunk(fake, log):
    """What does not fit after other records is left for the next read."""
    fill(fake, log, 2)
    fill(fake, log, 1, 5000)
    result = fake.read(log, buffer_size=1000)
    assert numbers(result) == [0, 1]
    assert result[4] == OK
    assert len(fake.read(log, position=result[1], buffer_size=1000)[0][0].data) == 5000


def test_a_long_chunk_that_is_nearly_full_is_not_copied(fake, log):
    """What it pins for nothing is less than an eighth of what it holds."""
    fill(fake, log, 10, 100_000)
    for buffer_size, kept in ((1_100_000, True), (1_200_000, False)):
        records = fake.records(log, buffer_size=buffer_size)
        assert len(records) == 10
        assert (len(records[0].view.obj) == buffer_size) is kept


@pytest.mark.parametrize("buffer_size", [1 << 16, 1 << 20, 1 << 24])
def test_a_record_pins_little(fake, log, buffer_size):
    """The chunk behind a record is not much longer than the frames that were read."""
    frame = fill(fake, log, 2000)
    for limit in (1, 10, 2000):
        records = fake.records(log, limit=limit, buffer_size=buffer_size)
        used = frame * len(records)
        assert used <= len(records[0].view.obj) <= used * 2 + 1024
        assert len(records[0].view.obj) - used <= 65536


def test_a_closed_log_says_that_it_ends(fake, log):
    """end_of_log is told with the last records, and not before."""
    frame = fill(fake, log, 10)
    log.close()
    assert fake.read(log, limit=5)[3] is False
    assert fake.read(log)[3] is True
    assert fake.read(log, position=FIRST + 10 * frame)[3] is True


def test_damage_comes_after_what_is_good(fake, log):
    """Records before the damage are delivered, with its range; a read from there gives the damage alone."""
    frame = fill(fake, log, 10)
    begin, end = FIRST + 4 * frame, FIRST + 6 * frame
    log.damage(begin, end)
    result = fake.read(log)
    assert numbers(result) == [0, 1, 2, 3]
    assert result[1] == begin
    assert result[4:7] == (CORRUPT, begin, end)
    assert fake.read(log, position=begin)[0] == []
    assert fake.read(log, position=begin)[4:7] == (CORRUPT, begin, end)
    assert numbers(fake.read(log, position=end)) == [6, 7, 8, 9]
    assert fake.read(log, limit=4)[4] == OK


def test_a_trimmed_position_is_told_by_the_status(fake, log):
    """Readers meet TRIMMED often enough to want no exception."""
    log.script(READ, TRIMMED, 1)
    assert fake.read(log) == ([], FIRST, 0, False, TRIMMED, 0, 0, False)


@pytest.mark.parametrize("status", [CLOSED, POISONED, 5 << 8 | 6])
def test_other_failures_raise(fake, log, status):
    """The status, the shard and the position go to raise_for."""
    log.script(READ, status, 1)
    with pytest.raises(StatusError) as caught:
        fake.read(log)
    assert caught.value.args == (status, "read of shard-0 at position 64")


@pytest.mark.parametrize(
    "change",
    [
        {"log": 0},
        {"log": None},
        {"shard_index": 1 << 32},
        {"shard_id": 5},
        {"position": -1},
        {"position": 1 << 64},
        {"end": 1.5},
    ]
    + [{"limit": 0}, {"limit": -1}, {"limit": 1 << 63}, {"buffer_size": 0}, {"buffer_size": 1 << 32}, {"colour": 1}],
)
def test_bad_parameters_are_refused(fake, log, change):
    """Zero, negative and too large numbers and other types raise, and nothing is read."""
    with pytest.raises((TypeError, ValueError)):
        fake.hot.read(**{**names(log), **change})
    assert log.calls(READ) == 0


def test_a_chunk_too_large_for_memory_is_a_memory_error(fake, log):
    """An allocation that fails raises MemoryError, and the next read works."""
    fill(fake, log, 1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), hard))
    try:
        with pytest.raises(MemoryError):
            fake.read(log, buffer_size=(1 << 32) - 1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert numbers(fake.read(log)) == [0]


def test_other_threads_run_while_a_long_read_waits(fake, log):
    """A read into a large buffer lets the GIL go; nobody else could open the gate."""
    fill(fake, log, 5)
    log.gate(READ, 1)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(fake.read(log, buffer_size=1 << 20)))
    thread.start()
    deadline = time.monotonic() + 20
    while log.waiting() == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    log.gate(READ, 0)
    thread.join()
    assert numbers(outcome[0]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("buffer_size", [1000, 1 << 20])
def test_a_signal_is_served_and_the_read_goes_on(fake, log, buffer_size):
    """The Python handler runs, or raises as Ctrl-C does."""
    fill(fake, log, 5)
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        log.script(READ, INTERRUPTED, 2)
        assert numbers(fake.read(log, buffer_size=buffer_size)) == [0, 1, 2, 3, 4]
        assert len(seen) == 2
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        log.script(READ, INTERRUPTED, 1)
        with pytest.raises(KeyboardInterrupt):
            fake.read(log, buffer_size=buffer_size)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_records_outlive_everything(core):
    """Records stay valid when the log and every name of the module are gone."""
    fake = Fake(core)
    log = fake.log()
    fill(fake, log, 2000)
    records = fake.records(log, limit=2000, buffer_size=1 << 20)
    view = records[5].view
    del fake, log
    gc.collect()
    assert [int(record.data) for record in records] == list(range(2000))
    del records
    gc.collect()
    assert int(bytes(view)) == 5
