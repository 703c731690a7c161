"""The border to C: statuses become the right errors, logs do what the core promises, nothing is freed in use."""

from __future__ import annotations

import errno
import gc
import struct
import weakref
from types import SimpleNamespace

import pytest

from streamstore import errors, native
from streamstore._core import ffi, lib
from streamstore.native import attachment as attachment_module
from streamstore.values import LogOptions

OPTIONS = LogOptions("process", 0, 1 << 20, 0, 0, b"\x80")


@pytest.fixture
def attachment(tmp_path):
    made = native.Attachment(str(tmp_path / "store"), create=True, read_only=False, sync_interval_us=100_000)
    yield made
    made.close()


@pytest.fixture
def log(attachment):
    return attachment.log(7, 3, "shardId-000000000003", OPTIONS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (lib.SS_FULL, errors.StoreFullError),
        (lib.SS_POISONED, errors.DurabilityUnknownError),
        (lib.SS_STALE, errors.StaleHandleError),
        (lib.SS_FORMAT, errors.FormatVersionError),
        (lib.SS_FOREIGN, errors.ForeignFileError),
        (lib.SS_TOO_LARGE, errors.RecordTooLargeError),
        (lib.SS_READ_ONLY, errors.ReadOnlyError),
        (lib.SS_FORKED, errors.ForkedError),
        (250, errors.StorageError),
    ],
)
def test_a_status_becomes_its_error(status, kind):
    """Every code has one class; an unknown one is a StorageError."""
    error = native.error_for(status, "here")
    assert type(error) is kind
    assert str(error).startswith("here: ")


def test_a_storage_error_carries_errno():
    """The kernel's reason is kept, as a number and in words."""
    error = native.error_for(lib.SS_IO | errno.EIO << 8, "x")
    assert isinstance(error, errors.StorageError)
    assert error.errno == errno.EIO
    assert "Input/output error" in str(error)


def test_a_log_gives_back_what_was_appended(log):
    """Data, key, explicit hash key and attribute block come back; positions are those that append returned."""
    appended = log.append(
        [(b"one", "k1"), (b"", None, (1 << 128) - 1), (memoryview(b"three"), "kéy")], attributes=[None, b"\x80", None]
    )
    records, following, visible, ended, status, _, _ = log.read(appended.first_position, 0, 10, 4096)
    assert [record.data for record in records] == [b"one", b"", b"three"]
    assert [record.partition_key for record in records] == ["k1", None, "kéy"]
    assert [record.explicit_hash_key for record in records] == [None, (1 << 128) - 1, None]
    assert [record.attribute_block for record in records] == [b"", b"\x80", b""]
    assert tuple(record.position for record in records) == appended.positions
    assert (following, visible, ended, status) == (appended.end_position, appended.end_position, False, 0)
    state = log.state()
    assert (state.tail, state.epoch, state.record_count) == (appended.end_position, appended.epoch, 3)


def test_get_and_read_give_equal_records(log):
    """The two ways to a record agree on everything."""
    appended = log.append([(b"x" * size, f"k{size}") for size in (0, 1, 100, 10_000)])
    for record in log.read(appended.first_position, 0, 10, 65536)[0]:
        found = log.get(record.position, record.epoch)
        assert found == record
        assert (found.ordinal, found.next_position) == (record.ordinal, record.next_position)
    assert log.get(appended.positions[1], appended.epoch + 1) is None


def test_a_buffer_that_is_too_small_grows(log):
    """A record larger than the first buffer is read all the same."""
    appended = log.append([(b"y" * 500_000, "k")])
    assert log.read(appended.first_position, 0, 10, 4096)[0][0].size == 500_000


def test_compare_and_append(log):
    """Only who knows the tail may append."""
    first = log.append([(b"a", "k")])
    second = log.append([(b"b", "k")], expected_tail=first.end_position)
    with pytest.raises(errors.TailMismatchError):
        log.append([(b"c", "k")], expected_tail=first.end_position)
    assert log.state().tail == second.end_position


def test_get_in_sealed_and_active_segments(attachment):
    """Records of any size are had by their place, and their neighbours by none."""
    log = attachment.log(1, 0, "shardId-000000000000", OPTIONS)
    sizes = [0, 100, 1991, 1992, 1993, 2000, 4040, 4041, 20_000]
    for sealed in (True, False):
        appended = log.append([(bytes([size % 256]) * size, f"key {size}", None) for size in sizes])
        if sealed:
            log.roll()
        for position, size in zip(appended.positions, sizes, strict=True):
            found = log.get(position, appended.epoch)
            assert (found.position, found.epoch) == (position, appended.epoch)
            assert (found.data, found.partition_key) == (bytes([size % 256]) * size, f"key {size}")
            assert log.get(position + 8, appended.epoch) is None
            assert log.get(position, 0) is None
    assert log.get(appended.end_position, appended.epoch) is None


def test_columns_are_the_fields_of_the_records(log):
    """Numbers stand side by side, bytes are views into the frames, presence is a bit."""

    class Memory(bytearray):
        @property
        def address(self):
            return int(ffi.cast("uintptr_t", ffi.from_buffer(self)))

    appended = log.append([(b"x" * index, f"k{index}" if index % 3 else None) for index in range(2000)])
    columns = native.Columns(log, appended.first_position, 1500, 1 << 20, Memory)
    records = log.read(appended.first_position, 0, 1500, 1 << 22)[0]
    count = columns.count
    assert 500 < count <= 1500  # as many as there is room for
    assert columns.next_position == records[count - 1].next_position
    for name in ("position", "epoch", "ordinal", "arrival_us"):
        found = memoryview(columns.buffers[name]).cast("Q")[:count].tolist()
        assert found == [getattr(record, name) for record in records[:count]]
    for row, record in enumerate(records[:count]):
        size, prefix, _, offset = struct.unpack_from("<I4sII", columns.buffers["data"], 16 * row)
        inline = columns.buffers["data"][16 * row + 4 : 16 * row + 4 + size]
        data = inline if size <= 12 else columns.frames[offset : offset + size]
        assert data == record.data
        assert prefix == record.data[:4].ljust(4, b"\0")
        assert columns.buffers["key_present"][row // 8] >> row % 8 & 1 == (record.partition_key is not None)
    assert columns.key_count == sum(record.partition_key is not None for record in records[:count])
    assert columns.attributes_count == 0


def test_roll_and_trim(log):
    """After a roll everything before it can be trimmed, and a read from there says so."""
    first = log.append([(b"old", "k")])
    log.roll()
    base = log.state().segment_base
    log.append([(b"new", "k")])
    log.trim(base)
    assert log.read(first.first_position, 0, 10, 4096)[4] & 0xFF == native.TRIMMED
    assert [record.data for record in log.read(base, 0, 10, 4096)[0]] == [b"new"]
    assert [segment.base for segment in log.segments() if segment.live] == [base]


def test_waits_end(log, attachment):
    """A wait ends at its timeout, or at once where there is something."""
    assert log.wait(log.state().tail, 1000) is False
    appended = log.append([(b"x", "k")])
    assert log.wait(appended.first_position, 60_000_000) is True
    word = attachment.watch()
    assert attachment.wait(word, 1000) is False
    log.append([(b"x", "k")])
    assert attachment.wait(word, 60_000_000) is True


def test_a_closed_attachment_refuses_everything(log, attachment):
    """Every call after close raises ClosedError, and closing twice is fine."""
    attachment.close()
    attachment.close()
    for call in (log.state, log.sync, lambda: log.append([(b"x", "k")]), attachment.flush, attachment.watch):
        with pytest.raises(errors.ClosedError):
            call()


def test_a_log_keeps_its_store_alive(tmp_path):
    """Dropping the Attachment while a Log is still held frees nothing that the Log needs."""
    made = native.Attachment(str(tmp_path / "s"), create=True, read_only=False, sync_interval_us=100_000)
    log = made.log(1, 0, "shardId-000000000000", OPTIONS)
    log.append([(b"x", "k")])
    target = native.make_target([log], [native_range()], record_size_max=100, sync=False)
    made.close()
    del made
    gc.collect()
    with pytest.raises(errors.ClosedError):
        log.state()
    keepalive = weakref.ref(log.keepalive)
    del log
    gc.collect()
    assert keepalive() is not None
    with pytest.raises(errors.ClosedError):
        target.put_record(b"x", "k")
    del target
    gc.collect()
    assert keepalive() is None


def native_range():
    from streamstore.values import HashRange

    return HashRange(0, (1 << 128) - 1)


def test_an_absent_store_is_not_made_by_accident(tmp_path):
    """Without create=True a wrong path is an error, and nothing appears on disk."""
    made = native.Attachment(str(tmp_path / "typo"), create=False, read_only=False, sync_interval_us=100_000)
    with pytest.raises(errors.StoreNotFoundError, match="typo"):
        made.info()
    assert list(tmp_path.iterdir()) == []


def test_sequence_numbers_go_back_to_their_parts():
    """And anything else is refused."""
    assert native.parse_sequence_number(native.sequence_number(5, 640, 3)) == (5, 640, 3)
    with pytest.raises(errors.InvalidArgumentError):
        native.parse_sequence_number("12345")
    with pytest.raises(errors.InvalidTypeError):
        native.parse_sequence_number(12345)


def test_an_event_is_appended_only_at_the_tail_its_writer_has_seen(log):
    """append_event gives the new tail, 0 where somebody was faster, and writes nothing then."""
    first = log.state().tail
    tail = log.append_event(b"one", first)
    assert tail == log.state().tail
    assert log.append_event(b"two", first) == 0
    assert log.append_event(b"three", tail) == log.state().tail
    assert [record.data for record in log.read(first, 0, 10, 4096)[0]] == [b"one", b"three"]


def test_a_process_is_named_by_its_slot_and_the_slots_generation(tmp_path):
    """Opening again takes a slot under another generation: a dead holder is never taken for a living one."""
    seen = set()
    for _ in range(3):
        made = native.Attachment(str(tmp_path / "s"), create=True, read_only=False, sync_interval_us=100_000)
        assert made.pointer
        (process,) = made.processes()
        seen.add((process["slot"], process["generation"]))
        made.close()
    assert len(seen) == 3


def test_a_dropped_store_whose_last_sync_failed_says_so(monkeypatch, caplog):
    """Nobody called close(), so nobody can be told by an exception; it is not swallowed for that."""
    monkeypatch.setattr(attachment_module, "lib", SimpleNamespace(ss_store_close=lambda pointer: lib.SS_POISONED))
    attachment_module._closing(object())(None)
    assert "dropped without close()" in caplog.text
