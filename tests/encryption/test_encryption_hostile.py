"""Encrypted records that were changed on purpose, moved, or written by the second implementation."""

from __future__ import annotations

import struct

import pytest
import xxhash
from found_on_disk import KEY, SECRET
from model import cases
from model import format as v1

import streamstore
from streamstore import errors, keys, sealing

pytest.importorskip("cryptography", reason="the extra crypto is not installed")


def sealed_segment(tmp_path, ring):
    """(path of the segment of a closed store that has its encrypted record, offset of that, all records)."""
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        stream = store.create_stream("s")
        stream.put_record(b"before", "k")
        stream.start_encryption()
        stream.put_record(SECRET, KEY, explicit_hash_key=5, attributes={"a": 1})
        stream.stop_encryption()
        stream.put_record(b"after", "k")
        records = list(stream.read())
    _, path, _ = sorted((tmp_path / "data/streams").rglob("*.seg"))  # each change of terms begins one
    assert v1.decode_segment(path.read_bytes())[0].base == records[1].position
    return path, v1.SEGMENT_HEADER_SIZE, records


def reseal(data, offset, salt):
    """Make the checks of the frame at `offset` hold, whatever it says."""
    size = int.from_bytes(data[offset + 4 : offset + 8], "little")
    head = xxhash.xxh3_64_intdigest(bytes(data[offset + 4 : offset + 40]), salt)
    data[offset : offset + 4] = struct.pack("<I", head & 0xFFFFFFFF)
    body = xxhash.xxh3_64_intdigest(bytes(data[offset + 48 : offset + size]), salt)
    data[offset + 40 : offset + 48] = struct.pack("<Q", (body ^ head) or 1)


def test_a_frame_that_was_changed_on_purpose_is_no_record(tmp_path, ring):
    """Every byte of an encrypted record's body flipped, with the checks made to hold: damage of that record, or a key
    that is not there; what stands around it is read.
    """
    path, offset, records = sealed_segment(tmp_path, ring)
    before, sealed, after = records
    good = path.read_bytes()
    salt = int.from_bytes(good[80:88], "little")
    size = sealed.next_position - sealed.position
    pad = good[offset + 32] & 7
    outcomes = set()
    # The fields that the tag covers: key size, attributes size, and all of the body but the pad.
    for at in [16, 33, *range(48, size - pad)]:
        data = bytearray(good)
        data[offset + at] ^= 1 if at != 33 else 0x80  # of the attributes size: a larger one
        reseal(data, offset, salt)
        path.write_bytes(data)
        with streamstore.open(tmp_path / "data", key_ring=ring, read_only=True) as store:
            shard = store.stream("s").shards()[0]
            batch = shard.read()
            assert [record.data for record in batch] == [before.data], at
            with pytest.raises((errors.CorruptRangeError, errors.KeyUnavailableError)) as told:
                shard.read(batch.next_position)
            with pytest.raises((errors.CorruptRangeError, errors.KeyUnavailableError)):
                shard.get(sealed.sequence_number)
            outcomes.add((type(told.value), 48 <= at < 52))
            if isinstance(told.value, errors.CorruptRangeError):
                assert (told.value.begin, told.value.end) == (sealed.position, sealed.next_position)
                assert [record.data for record in shard.read(told.value.next_position)] == [after.data]
    assert outcomes == {(errors.CorruptRangeError, False), (errors.KeyUnavailableError, True)}


def test_a_sealed_record_of_another_stream_is_no_record(tmp_path, ring):
    """A frame that was moved into another stream does not hold there: each has keys of its own."""
    path, offset, records = sealed_segment(tmp_path, ring)
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        other = store.create_stream("other")
        other.start_encryption()
        stolen = records[1]
        raw = path.read_bytes()
        frame = v1.decode_frame(raw[offset:], stolen.position, int.from_bytes(raw[80:88], "little"))
        shard = other.shards()[0]
        log = other.log(0)
        log.append(
            [(frame.data, frame.key, frame.hash_key)], attributes=[frame.attributes], seals=[frame.seal], terms=0
        )
        log.sync()
        with pytest.raises(errors.CorruptRangeError):
            shard.read()


def test_the_golden_frames_open(tmp_path):
    """The records of the second implementation, under its key, through the whole of ours."""
    case = cases.encrypted()

    class Ring(keys.KeyRing):
        kind = name = "known"

        def wrap(self, key, context, master=None):
            return {"ring": "known", "box": b""}

        def unwrap(self, wrapped, context):
            assert context.key_id == cases.KEY_ID
            return cases.DATA_KEY

    with streamstore.open(tmp_path / "data", key_ring=Ring()) as store:
        stream = store.create_stream("golden")
        stream.start_encryption()
        store_id = bytes.fromhex(store.store_id)
    header, frames, _ = v1.decode_segment(case.files["000000000001.seg"])
    target = tmp_path / "data/streams/1/0/000000000001.seg"
    target.parent.mkdir(parents=True)
    target.write_bytes(v1.encode_segment(v1.replace(header, store_id=store_id), frames))
    with streamstore.open(tmp_path / "data", key_ring=Ring(), read_only=True) as store:
        stream = store.stream("golden")
        stream.horizon = None
        log = store.attachment.log(1, 0, "shardId-000000000000", stream._log_options(0))
        log.opener = sealing.StreamKeys(lambda: stream.info, Ring()).open
        records = log.read(64, 0, 100, 1 << 16)[0]
    expected = [frame if not frame.seal else v1.open_frame(frame, cases.DATA_KEY, 1) for frame in frames]
    assert [(r.data, r.attribute_block, r.explicit_hash_key) for r in records] == [
        (frame.data, frame.attributes, frame.hash_key) for frame in expected
    ]
    assert [r.partition_key for r in records] == [f.key.decode() if f.key is not None else None for f in expected]
