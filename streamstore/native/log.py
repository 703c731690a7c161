"""A Log: one shard (or the catalog) seen through an Attachment. Knows positions and frames, not what records mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from streamstore import clock, errors, limits
from streamstore._core import ffi, lib
from streamstore._hot import Record
from streamstore._hot import append as append_event
from streamstore._hot import get as get_record
from streamstore._hot import read as read_chunk
from streamstore._hot import take as take_record
from streamstore._hot import visible as visible_end
from streamstore.native.border import (
    CORRUPT,
    INTERRUPTED,
    NOT_FOUND,
    OK,
    SMALL,
    TRIMMED,
    call,
    error_for,
    fields,
    listing,
    wait,
)
from streamstore.native.entries import fill_entry
from streamstore.native.packing import Packing
from streamstore.values import Appended, LiveSegment, LogState, Segment

if TYPE_CHECKING:
    from streamstore.native.attachment import Attachment


Fetched = tuple[list[Record], int, int, bool, int, int, int, bool]
Taker = Callable[[int, int, int, int, int], tuple[Record, int] | bool]
"""(position, tail, now, visibility, owner) -> the record that begins there and the new tail of the delivery log whose
tail was that, once the event `receive` of that record stands there, published but not yet durable.

False where nothing came in either log; True, with nothing done, where it is not that simple: a record with attributes,
an encrypted one, one that retention hides, a damaged place, another tail, a full disk.
"""
Opener = Callable[[Record], Record]
"""Decrypts one record. Raises KeyUnavailableError, or CorruptRangeError where the record's tag does not hold."""


class Log:
    """One log of the core. Any thread; lives as long as the attachment it was made from."""

    __slots__ = (
        "attachment",
        "generation",
        "keepalive",
        "memory",
        "address",
        "describe",
        "opener",
        "pointer",
        "shard_id",
        "shard_index",
        "terms",
    )

    def __init__(self, attachment: Attachment, keepalive: Any, pointer: Any, shard_index: int, shard_id: str) -> None:
        self.attachment = attachment
        self.generation = attachment.generation
        self.keepalive = keepalive  # the open store: a Log in use keeps it from being closed
        self.memory = attachment.memory  # and this from being freed
        self.pointer = pointer
        self.address = int(ffi.cast("uintptr_t", pointer))
        self.shard_index = shard_index
        self.shard_id = shard_id
        self.opener: Opener | None = None  # of encrypted records; None: there can be none
        self.describe: Callable[[], bytes] = bytes  # what a segment begun now is to say; b"": what one would have said
        self.terms = 0  # that this object raised the log to; they never fall while it is good

    def append(
        self,
        entries: Sequence[tuple[Any, ...]],
        *,
        expected_tail: int = 0,
        attributes: Sequence[Any] | None = None,
        seals: Sequence[bytes] | None = None,
        terms: int = 0,
        reserve: bool = False,
    ) -> Appended:
        """Append (data, key, explicit hash key) entries as one batch, published but not yet durable at return.

        With `seals` the entries are encrypted: keys and attributes are bytes-like too. `reserve` lets it use the space
        that is kept for what frees space. Raises TailMismatchError where `expected_tail` is not 0 and not the tail,
        SettingsChangedError where `terms` is not 0 and out of date.
        """
        keep: list[Any] = []
        items = ffi.new("ss_entry[]", len(entries))
        for index, entry in enumerate(entries):
            fill_entry(items[index], entry, attributes[index] if attributes else None, keep)
            if seals:
                items[index].seal = ffi.from_buffer("uint8_t[]", seals[index])
        positions = ffi.new("uint64_t[]", len(entries))
        out = ffi.new("ss_appended *")
        flags = lib.SS_APPEND_RESERVE if reserve else 0
        batch = (items, len(entries), expected_tail, flags, positions, out)
        call(self.shard_id, lib.ss_log_append_under, self.pointer, terms, *batch)
        return Appended(out.epoch, out.first_position, out.end_position, out.arrival_us, tuple(positions))

    def append_event(self, data: bytes, expected_tail: int, reserve: bool = False) -> int:
        """Append one event, published but not yet durable at return: the new tail, or 0 where the tail was another.

        `reserve` as for `append`.
        """
        return append_event(self.address, data, expected_tail, reserve)

    def raise_terms(self, terms: int) -> None:
        """From now on no append under terms older than these is let in, in any process.

        What is appended under these through this object stands in segments that say what `describe` gives now.
        """
        description = self.describe()
        call(self.shard_id, lib.ss_log_terms_raise, self.pointer, terms, description, len(description))
        self.terms = max(self.terms, terms)

    def sync(self, end_position: int = 0) -> None:
        """Return once everything below `end_position` (0: the tail) is durable."""
        call(self.shard_id, lib.ss_log_sync, self.pointer, end_position)

    def sync_orphan(self) -> None:
        """Make visible what a writer published and died before it was synced; nothing where there is no such thing."""
        out = ffi.new("ss_log_state *")
        call(self.shard_id, lib.ss_log_state_get, self.pointer, out)
        if out.visible < out.tail and not self.attachment.read_only:
            self.sync(out.tail)

    def state(self) -> LogState:
        """The facts on the log now. Recovers it where this incarnation has not touched it yet."""
        out = ffi.new("ss_log_state *")
        call(self.shard_id, lib.ss_log_state_get, self.pointer, out)
        return LogState(*[getattr(out, name) for name in LogState._fields])

    def visible(self) -> int:
        """The end of what readers may see."""
        return visible_end(self.address)

    def read(
        self, position: int, end: int, limit: int, buffer_size: int
    ) -> tuple[list[Record], int, int, bool, int, int, int]:
        """Up to `limit` records from `position` to before `end` (0: the visible end), out of one buffer.

        Returns (records, next position, visible end, end of log, status, damage begin, damage end); the status is
        OK, TRIMMED or CORRUPT; all else raises. Encrypted records come opened; KeyUnavailableError where the first one
        cannot be.
        """
        result = self.fetch(position, end, limit, buffer_size)
        return self._opened(*result[:7]) if result[7] else result[:7]

    def read_held(
        self, position: int, end: int, limit: int, buffer_size: int
    ) -> tuple[list[Record], int, int, bool, int, int, int]:
        """What `read` gives of all that the log holds, also of what retention hides."""
        result = Log.fetch(self, position, end, limit, buffer_size)
        return self._opened(*result[:7]) if result[7] else result[:7]

    def taker(self, events: Log) -> Taker:
        """What takes one record out of this log for a queue whose delivery log is `events`."""
        return self.taker_held(events)

    def taker_held(self, events: Log) -> Taker:
        """What `taker` gives, also of what retention hides. Good while both logs are."""
        return partial(take_record, self.address, self.shard_index, self.shard_id, events.address, 0)

    def fetch(self, position: int, end: int, limit: int, buffer_size: int) -> Fetched:
        """What `read` gives, with encrypted records as they are stored; the last item says that there are such."""
        while True:
            result = read_chunk(self.address, self.shard_index, self.shard_id, position, end, limit, buffer_size)
            if result[4] == OK:
                return result
            code = result[4] & 0xFF
            if code in (CORRUPT, TRIMMED):
                return result
            if code == SMALL and buffer_size < limits.RECORD_SIZE_MAX * 2:
                buffer_size *= 4
            elif code != INTERRUPTED:
                raise error_for(result[4], self.shard_id)

    def read_columns(self, position: int, columns: Any, result: Any, read: Callable[[], int]) -> int:
        """Call `read`, which fills columns and result from `position`; returns its status."""
        return read()

    def held(self) -> LogState:
        """The facts on what the log holds, shown or not: those of `state`, unless retention hides some of it."""
        return self.state()

    def get(self, position: int, epoch: int) -> Record | None:
        """The record exactly there, or None. Raises TrimmedError, CorruptRangeError, KeyUnavailableError."""
        record = self.find(position, epoch)
        return self._open(record) if record is not None and record.seal_offset else record

    def find(self, position: int, epoch: int) -> Record | None:
        """What `get` gives, as it is stored."""
        return get_record(self.address, self.shard_index, self.shard_id, position, epoch)

    def _open(self, record: Record) -> Record:
        if self.opener is None:
            raise errors.KeyUnavailableError(f"{self.shard_id}: the record at {record.position} is encrypted")
        return self.opener(record)

    def _opened(
        self, records: list[Record], position: int, visible: int, ended: bool, status: int, begin: int, end: int
    ) -> tuple[list[Record], int, int, bool, int, int, int]:
        for index, record in enumerate(records):
            if not record.seal_offset:
                continue
            try:
                records[index] = self._open(record)
            except errors.KeyUnavailableError:
                if index == 0:
                    raise
                return records[:index], record.position, visible, False, OK, 0, 0  # told by the next read
            except errors.CorruptRangeError:
                # Its checks hold and its tag does not: somebody changed it on purpose. One record's worth of damage.
                after = record.next_position
                return records[:index], after, visible, False, CORRUPT, record.position, after
        return records, position, visible, ended, status, begin, end

    def seek(self, position: int) -> int:
        """The first frame boundary at or after `position`."""
        return self._seek(lib.ss_log_seek, position)

    def seek_time(self, arrival_us: int) -> int:
        """The first record that arrived at or after `arrival_us`; the visible end where there is none."""
        return self._seek(lib.ss_log_seek_time, arrival_us)

    def seek_ordinal(self, ordinal: int) -> int:
        """The first record whose ordinal is at or above `ordinal`; the visible end where there is none."""
        return self._seek(lib.ss_log_seek_ordinal, ordinal)

    def epoch_at(self, position: int) -> int:
        """The epoch of what stands before `position`, or a later one that began before it; 0: nothing stands there."""
        return self._seek(lib.ss_log_epoch_at, position)

    def epoch_after(self, epoch: int) -> int:
        """Where the first frame under an epoch above `epoch` stands; the tail where there is none."""
        return self._seek(lib.ss_log_epoch_after, epoch)

    def epochs_around(self, begin: int, end: int) -> tuple[int, int]:
        """The epochs of the records next to a range of which nothing holds: a number that was lost in it lies between
        (first, begin) and (second, end), and that of no other record does. Needs no key.
        """
        before, held = self._last_epoch(begin), self.held()
        with suppress(errors.StreamStoreError):  # a key that is not here, a file of elsewhere: it says nothing then
            if behind := Log.fetch(self, end, 0, 1, limits.READ_CHUNK_SIZE)[0]:
                return before, behind[0].epoch
            if end < held.tail:
                return before, max(before, self.epoch_at(end + 8))
        # What was last may have been under any epoch that there was so far: they are taken from the clock, unless it
        # goes back.
        now_us = clock.now_us()
        return before, max(before, held.epoch, now_us if now_us < limits.EPOCH_CLOCK_END_US else 0)

    def _last_epoch(self, end: int) -> int:
        """The epoch of the last record before `end` that holds."""
        epoch = 0
        with suppress(errors.StreamStoreError):
            position = Log.seek(self, max(end - limits.READ_CHUNK_SIZE, self.held().start))
            while position < end:
                found, following, _, _, status, _, damage_end, _ = Log.fetch(
                    self, position, end, limits.READ_CHUNK_RECORDS, limits.READ_CHUNK_SIZE
                )
                epoch = found[-1].epoch if found else epoch
                following = damage_end if status else following
                if following <= position:
                    break
                position = following
            return epoch or self.epoch_at(end)
        return epoch

    def _seek(self, function: Callable[..., int], value: int) -> int:
        out = ffi.new("uint64_t *")
        call(self.shard_id, function, self.pointer, value, out)
        return int(out[0])

    def wait(self, position: int, timeout_us: int) -> bool:
        """Wait until something is visible at or beyond `position`, or somebody woke the log; False on timeout."""
        return wait(self.shard_id, lib.ss_log_wait, self.pointer, position, timeout_us)

    def wake(self) -> None:
        """Wake every wait on this log; the waiters look again."""
        lib.ss_log_wake(self.pointer)

    def roll(self, expected_tail: int = 0) -> None:
        """Start a new segment at the tail."""
        call(self.shard_id, lib.ss_log_roll, self.pointer, expected_tail)

    def trim(self, position: int) -> int:
        """Readers see nothing before `position` from now on; returns the bytes freed."""
        out = ffi.new("uint64_t *")
        call(self.shard_id, lib.ss_log_trim, self.pointer, position, out)
        return int(out[0])

    def limit(self, position: int) -> None:
        """Let no append end beyond `position`, in any process of this incarnation: they raise StreamFullError."""
        call(self.shard_id, lib.ss_log_limit_set, self.pointer, position)

    def limited(self) -> int:
        """The position beyond which no append ends; 0 for none."""
        return int(lib.ss_log_limit_get(self.pointer))

    def live_segments(self) -> list[LiveSegment]:
        """The live segments, oldest first, from memory."""
        listed = listing(
            "ss_live_segment", lambda items, size, count: lib.ss_log_live_segments(self.pointer, items, size, count)
        )
        return [LiveSegment(**item) for item in listed]

    def close(self, data: bytes) -> None:
        """End the log for good by a synced close frame that holds `data`. Raises ShardClosedError where it ended."""
        keep: list[Any] = []
        entry = ffi.new("ss_entry[]", 1)
        fill_entry(entry[0], (data,), None, keep)
        out = ffi.new("ss_appended *")
        call(self.shard_id, lib.ss_log_append, self.pointer, entry, 1, 0, lib.SS_APPEND_CLOSE, ffi.NULL, out)

    def close_data(self) -> bytes | None:
        """What the close frame holds that ends the log; None while it is open. Raises CorruptRangeError."""
        size = ffi.new("size_t *")
        buffer = bytearray(4 * limits.KIB)
        while True:
            view = ffi.from_buffer("uint8_t[]", buffer)
            status = lib.ss_log_close_data(self.pointer, view, len(buffer), size)
            if status == OK:
                return bytes(buffer[: size[0]])
            if status & 0xFF == NOT_FOUND:
                return None
            if status & 0xFF == SMALL and len(buffer) < size[0] <= limits.RECORD_SIZE_MAX:
                buffer = bytearray(size[0])
            elif status & 0xFF != INTERRUPTED:
                raise error_for(status, self.shard_id)

    def reach(self) -> tuple[int, bool]:
        """The end of what readers may see, and whether nothing will ever come behind it."""
        out = ffi.new("ss_log_state *")
        call(self.shard_id, lib.ss_log_state_get, self.pointer, out)
        if out.closed:  # perhaps only since the tail was read: once closed, it stays where it is
            call(self.shard_id, lib.ss_log_state_get, self.pointer, out)
        return int(out.visible), bool(out.closed and out.visible == out.tail)

    def retire(self) -> None:
        """Let no append in any more and drop maps and descriptors: the stream is being deleted."""
        call(self.shard_id, lib.ss_log_retire, self.pointer)

    def pack(self, first: int, last: int) -> Packing:
        """Begin to compact the sealed segments `first` to `last` (ordinals) into one."""
        return Packing(self, first, last)

    def clean_packs(self) -> int:
        """Remove what a compaction that died left behind; returns the number of files."""
        out = ffi.new("size_t *")
        call(self.shard_id, lib.ss_log_pack_clean, self.pointer, out)
        return int(out[0])

    def segments(self) -> list[Segment]:
        """The segments on disk, oldest first."""
        listed = listing(
            "ss_segment_info", lambda items, size, count: lib.ss_log_segments(self.pointer, items, size, count)
        )
        return [Segment(**item) for item in listed]

    def live(self) -> dict[str, int]:
        """Live figures for `stat`; recovers nothing."""
        out = ffi.new("ss_log_live *")
        lib.ss_log_live_get(self.pointer, out)
        return fields(out)

    def recovery(self) -> dict[str, Any]:
        """What recovery found when this process recovered the log; `verdict` is '' where it did not."""
        out = ffi.new("ss_recovery *")
        lib.ss_log_recovery_get(self.pointer, out)
        facts = fields(out)
        facts["verdict"] = chr(facts["verdict"]) if facts["verdict"] else ""
        return facts

    def verify(self, begin: int, end: int) -> tuple[list[dict[str, int]], dict[str, int]]:
        """Check every frame in [begin, end) from the files: (damaged ranges, totals)."""
        totals = ffi.new("ss_verify_totals *")
        damage = listing(
            "ss_damage",
            lambda items, size, count: lib.ss_log_verify(self.pointer, begin, end, items, size, count, totals),
        )
        return damage, fields(totals)
