"""The golden files of format version 1, each as what is in it: the generator writes these, the tests expect them."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgpack

from model import format as v1
from model import packed

STORE_ID = b"golden store 001"
OTHER_STORE_ID = b"golden store 002"
TIME_US = 1_700_000_000_000_000
EPOCH = TIME_US
SALT = 0x5EED_0123_4567_89AB
DESCRIPTION = msgpack.packb({"name": "golden", "shard": 0})
ATTRIBUTES = msgpack.packb({"u": {"kind": "click"}, "t": TIME_US - 250_000})
DATA_KEY = bytes(range(32))
KEY_ID = 1
CHILDREN = msgpack.packb({"children": [1, 2]})


class Shard:
    """A shard being written: positions, ordinals and the clock go on by themselves, from segment to segment."""

    def __init__(self) -> None:
        self.position = v1.FIRST_POSITION
        self.records = 0
        self.arrival_us = TIME_US
        self.segments = 0

    def segment(self, base: int | None = None, epoch: int = EPOCH, **facts: int) -> v1.SegmentHeader:
        """The header of the next segment, at the tail or at `base`."""
        self.segments += 1
        self.position = self.position if base is None else base
        self.base_ordinal = facts.setdefault("base_ordinal", self.records)
        self.records = self.base_ordinal
        self.epoch = epoch
        return v1.SegmentHeader(
            STORE_ID,
            1,
            0,
            self.segments,
            self.position,
            SALT + self.segments,
            epoch=epoch,
            created_us=self.arrival_us,
            floor_arrival_us=0 if self.segments == 1 else self.arrival_us,
            description=DESCRIPTION,
            **facts,
        )

    def frame(self, data: bytes = b"", kind: int = v1.DATA, **content: object) -> v1.Frame:
        """The frame at the tail."""
        self.arrival_us += 1_000
        ordinal = self.records - self.base_ordinal + 1
        frame = v1.Frame(self.position, self.epoch, self.arrival_us, ordinal, kind, data=data, **content)
        self.position += frame.size
        self.records += kind == v1.DATA
        return frame


@dataclass(frozen=True)
class Case:
    """One shard directory: file name -> bytes, the frames that must be read from it, and recovery's verdict."""

    name: str
    says: str
    files: dict[str, bytes]
    frames: list[v1.Frame] = field(repr=False)
    verdict: str = "A"
    closed: bool = False
    start: int = 0  # the trim horizon, as the catalog has it


def _name(ordinal: int) -> str:
    return f"{ordinal:012d}.seg"


def _logged(segments: list[tuple[v1.SegmentHeader, list[v1.Frame]]]) -> dict[str, bytes]:
    return {_name(header.ordinal): v1.encode_segment(header, frames) for header, frames in segments}


def clean() -> Case:
    """Every kind of content: no key, an empty key field, hash keys at both ends, attributes, no data, all paddings."""
    shard = Shard()
    header = shard.segment()
    frames = [
        shard.frame(b"a record", key=b"user-42"),
        shard.frame(b"no key"),
        shard.frame(key=b"no data"),
        shard.frame(),
        shard.frame(b"empty key", key=b""),
        shard.frame(b"hash key", key=b"k", hash_key=(1 << 128) - 1),
        shard.frame(b"hash key 0", key=b"k", hash_key=0),
        shard.frame(b"attributes", key=b"user-42", attributes=ATTRIBUTES, durable=v1.FIRST_POSITION),
        shard.frame(b"all of it", key="schl\u00fcssel".encode(), attributes=ATTRIBUTES, hash_key=1 << 64),
    ]
    frames += [shard.frame(b"x" * size, durable=frames[-1].position) for size in range(1, 9)]
    return Case("clean", "every kind of content", _logged([(header, frames)]), frames)


def torn_body() -> Case:
    """The last frame's header was stored and a word of its body was not: a torn tail."""
    shard = Shard()
    header = shard.segment()
    frames = [shard.frame(b"whole", key=b"k"), shard.frame(b"torn" * 16, key=b"k")]
    data = bytearray(v1.encode_segment(header, frames))
    at = v1.SEGMENT_HEADER_SIZE + frames[1].position - header.base + v1.FRAME_HEADER_SIZE + 16
    data[at : at + 8] = bytes(8)
    return Case("torn-body", "a word of the last body was not stored", {_name(1): bytes(data)}, frames[:1], "B")


def torn_header() -> Case:
    """The last frame's header has a word that was not stored: a torn tail."""
    shard = Shard()
    header = shard.segment()
    frames = [shard.frame(b"whole", key=b"k"), shard.frame(b"torn" * 16, key=b"k")]
    data = bytearray(v1.encode_segment(header, frames))
    at = v1.SEGMENT_HEADER_SIZE + frames[1].position - header.base + 24
    data[at : at + 8] = bytes(8)
    return Case("torn-header", "a word of the last header was not stored", {_name(1): bytes(data)}, frames[:1], "B")


def epoch() -> Case:
    """A shard that was closed and went on in place, under a greater epoch."""
    shard = Shard()
    header = shard.segment()
    frames = [shard.frame(b"before", key=b"k")]
    shard.epoch = EPOCH + 60_000_000
    frames += [shard.frame(kind=v1.EPOCH, durable=shard.position), shard.frame(b"after", key=b"k")]
    return Case("epoch", "went on in place after a clean close", _logged([(header, frames)]), frames)


def close() -> Case:
    """A shard that a reshard ended; its last frame names the children."""
    shard = Shard()
    header = shard.segment()
    frames = [shard.frame(b"the last record", key=b"k")]
    frames.append(shard.frame(CHILDREN, v1.CLOSE))
    return Case("close", "ended by a close frame", _logged([(header, frames)]), frames, closed=True)


def cut() -> Case:
    """A crash left two frames that were never durable; the next segment cuts them away."""
    shard = Shard()
    first = shard.segment()
    frames = [shard.frame(b"kept", key=b"k")]
    end = shard.position
    lost = [shard.frame(b"lost", key=b"k"), shard.frame(b"lost too", key=b"k")]
    shard.records = 1
    second = shard.segment(base=end, epoch=EPOCH + 60_000_000)
    later = [shard.frame(b"after the crash", key=b"k"), shard.frame(b"and on", key=b"k")]
    files = _logged([(first, frames + lost), (second, later)])
    return Case("cut", "a later segment cuts an earlier one", files, frames + later)


def copied() -> Case:
    """A sync failed: the frames in doubt were written anew into the next segment, under their old numbers."""
    shard = Shard()
    first = shard.segment()
    frames = [shard.frame(b"durable", key=b"k")]
    end, floor = shard.position, shard.arrival_us + 1_000
    doubtful = [shard.frame(b"in doubt", key=b"k"), shard.frame(b"in doubt too", key=b"k")]
    tail = shard.position
    second = shard.segment(base=end, epoch=EPOCH + 60_000_000, base_ordinal=1, copied_end=tail)
    second = v1.replace(second, floor_arrival_us=floor)
    again = [v1.replace(frame, ordinal=i + 1) for i, frame in enumerate(doubtful)]
    shard.position, shard.records = tail, 3
    later = [shard.frame(b"under the new epoch", key=b"k", durable=tail)]
    files = _logged([(first, frames + doubtful), (second, again + later)])
    return Case("copied", "frames in doubt copied with their numbers", files, frames + again + later)


def sealed() -> Case:
    """A log whose first segments were trimmed; the one that is sealed has its index, with frames in two strides."""
    shard = Shard()
    shard.segments, shard.position, shard.records = 4, v1.INDEX_STRIDE - 128, 1000
    first = shard.segment()
    frames = [shard.frame(b"sealed", key=b"k") for _ in range(4)]
    end = shard.position
    second = shard.segment()
    later = [shard.frame(b"active", key=b"k")]
    index = v1.encode_index(first, frames, end)
    whole = v1.encode_segment(first, frames, tail=0) + index + bytes(512)
    files = {_name(first.ordinal): whole, **_logged([(second, later)])}
    return Case("sealed", "an index trailer behind a sealed segment's frames", files, frames + later, start=first.base)


def encrypted() -> Case:
    """A plain record, then records under data key 1 of stream 1: with and without a key, hash key and attributes."""
    shard = Shard()
    header = shard.segment()
    contents = [
        {"data": b"a secret", "key": b"user-42"},
        {"data": b"no key"},
        {"key": b"no data"},
        {"data": b"all of it", "key": b"k", "attributes": ATTRIBUTES, "hash_key": 1 << 64},
    ]
    frames = [shard.frame(b"in plain", key=b"user-42")]
    for number, content in enumerate(contents):
        # The seal is there before the position of what follows is known; the cipher comes after.
        frame = shard.frame(**content, seal=bytes(v1.SEAL_SIZE))
        nonce = bytes([number + 1]) * 12
        frames.append(v1.seal_frame(frame, DATA_KEY, nonce, header.stream_id, KEY_ID))
    return Case("encrypted", "records under a data key", _logged([(header, frames)]), frames)


def compacted() -> Case:
    """Two segments joined into one of blocks: many small frames over two epochs, one longer than a block, and a last
    block that does not shrink. The one that goes on behind them is as ever.
    """
    shard = Shard()
    first = shard.segment()
    frames = [shard.frame(b"a record that repeats", key=b"user-%d" % (n % 3)) for n in range(40)]
    shard.segment(epoch=EPOCH + 60_000_000)
    frames += [shard.frame(b"a record of the second segment", key=b"k") for _ in range(3)]
    frames.append(shard.frame(b"long " * 14_000, key=b"k", attributes=ATTRIBUTES))
    frames.append(shard.frame(bytes((n * n * 97 + n * 31) % 251 for n in range(40)), key=b"noise"))
    header = v1.replace(first, ordinal=2, epoch=shard.epoch)
    joined = [v1.replace(frame, ordinal=n + 1) for n, frame in enumerate(frames)]
    third = shard.segment(epoch=EPOCH + 120_000_000)
    later = [shard.frame(b"active", key=b"k")]
    files = {_name(2): packed.encode_packed(header, joined), **_logged([(third, later)])}
    return Case("compacted", "two segments joined into one of blocks", files, joined + later)


def all_cases() -> list[Case]:
    """Every case, in the order of the document."""
    return [clean(), torn_body(), torn_header(), epoch(), close(), cut(), copied(), sealed(), encrypted(), compacted()]


def store_files() -> dict[str, bytes]:
    """A whole small store by path: two streams (one with a name that is a dot), three shards, cleanly closed."""
    streams = [("golden", 1, 2), (".", 2, 1)]
    files = {"manifest": v1.Manifest(STORE_ID, TIME_US).encode(), "lock": bytes(v1.LOCK_FILE_SIZE)}
    entries = []
    catalog = Shard()
    header = v1.replace(catalog.segment(), stream_id=0, description=b"")
    events = []
    for name, stream_id, shards in streams:
        facts = {
            "id": stream_id,
            "name": name,
            "account": "000000000000",
            "region": "us-east-1",
            "uniform": shards,
            "retention_hours": 24,
            "durability": "sync",
            "max_record_size": 1 << 20,
            "segment_size": 128 << 20,
            "created_us": TIME_US,
            "epoch_floor": 0,
        }
        events.append(catalog.frame(msgpack.packb({"v": 1, "e": "create", **facts})))
        for index in range(shards):
            shard = Shard()
            first = v1.replace(shard.segment(), stream_id=stream_id, shard=index)
            frames = [shard.frame(f"{name} {index} {n}".encode(), key=f"key-{n}".encode()) for n in range(3)]
            files[f"streams/{stream_id}/{index}/{_name(1)}"] = v1.encode_segment(first, frames)
            entries.append(v1.ControlEntry(stream_id, index, 0, shard.position, frames[-1].position))
    files[f"catalog/{_name(1)}"] = v1.encode_segment(header, events)
    entries.insert(0, v1.ControlEntry(0, 0, 0, catalog.position, events[-1].position))
    files["control"] = v1.encode_control(STORE_ID, entries, TIME_US, EPOCH)
    return files
