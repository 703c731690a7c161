"""Encrypted streams through every way in and out: what is on disk, who can read it, and what happens to writers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import sys
from dataclasses import replace

import pytest
from found_on_disk import KEY, SECRET, on_disk

import streamstore
from streamstore import description, errors, key_file, keys
from streamstore.native import aggregates

pytest.importorskip("cryptography", reason="the extra crypto is not installed")


def fill(stream):
    """One record by each way in; what they are, by content."""
    stream.put_record(SECRET + b" 1", KEY, attributes={"what": SECRET}, event_time=1.5)
    stream.put_record(bytearray(SECRET + b" 2"), None, explicit_hash_key=1 << 127)
    stream.put_records([(SECRET + b" 3", KEY), {"data": memoryview(SECRET + b" 4"), "partition_key": "é" * 9}])
    stream.shards()[0].append([(SECRET + b" 5", KEY), {"data": b"", "attributes": {"what": SECRET}}])
    return {
        (SECRET + b" 1", KEY, None),
        (SECRET + b" 2", None, 1 << 127),
        (SECRET + b" 3", KEY, None),
        (SECRET + b" 4", "é" * 9, None),
        (SECRET + b" 5", KEY, None),
        (b"", None, None),
    }


def seen(records):
    return {(record.data, record.partition_key, record.explicit_hash_key) for record in records}


@pytest.mark.parametrize("durability", ["sync", "process"])
@pytest.mark.parametrize("shard_count", [1, 3])
def test_nothing_of_a_record_is_on_disk(tmp_path, ring, shard_count, durability):
    """Data, partition key and attributes are ciphertext in every file; every way out gives them back."""
    with streamstore.open(tmp_path / "data", key_ring=ring, durability=durability) as store:
        stream = store.create_stream("s", shard_count)
        stream.start_encryption()
        expected = fill(stream)
        records = list(stream.read())
        assert seen(records) == expected
        assert {record.event_us for record in records if record.attributes} == {1_500_000, None}
        assert all(record.attributes["what"] == SECRET for record in records if record.attributes)
    assert on_disk(tmp_path / "data", SECRET, KEY.encode(), "é".encode() * 9, b"what") == set()
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        stream = store.stream("s")
        again = list(stream.read(merge=True))
        assert sorted(record.sequence_number for record in again) == sorted(
            record.sequence_number for record in records
        )
        assert seen(again) == seen(stream.last(100)) == expected
        for record in again:
            shard = stream.shard(record.shard_id)
            assert shard.get(record.sequence_number) == record
            assert pickle.loads(pickle.dumps(record)) == record
            assert record.next_position in {item.position for item in again} | {
                place[0] for each in stream.shards() for place in each.tail["shards"].values()
            }
        assert seen(record for shard in stream.shards() for record in shard.read()) == expected

        async def read():
            async with await streamstore.aio.open(tmp_path / "data", key_ring=ring) as twin:
                return [record async for record in (await twin.stream("s")).read()]

        assert seen(asyncio.run(read())) == expected


def test_arrow_gives_encrypted_records(crypted):
    """Rows as for plain ones, also where both kinds stand side by side, and the tip is a batch without rows."""
    pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    stream = crypted.create_stream("s")
    stream.put_record(b"plain", "p")
    stream.start_encryption()
    fill(stream)
    shard = stream.shards()[0]
    records = list(stream.read())
    batch = shard.read_arrow()
    assert batch.column("data").to_pylist() == [record.data for record in records]
    assert batch.column("partition_key").to_pylist() == [record.partition_key for record in records]
    assert batch.column("attributes").to_pylist() == [record.attribute_block or None for record in records]
    for name in ("position", "epoch", "ordinal"):
        assert batch.column(name).to_pylist() == [getattr(record, name) for record in records]
    assert batch.column("arrival").cast("int64").to_pylist() == [record.arrival_us for record in records]
    assert shard.read_arrow(limit=3).num_rows == 3
    assert shard.read_arrow("LATEST").num_rows == 0


def test_start_stop_and_rotation_leave_all_of_it_readable(tmp_path, crypted):
    """Plain, first key, second key, plain again: what stands where, and the facts on it."""
    stream = crypted.create_stream("s")
    assert stream.encryption == (False, 0, ())
    words = [b"plain-one", b"under-one", b"under-two", b"plain-two"]
    stream.put_record(words[0], "k")
    assert stream.start_encryption().key_id == 1
    stream.put_record(words[1], "k")
    assert stream.start_encryption().key_id == 1, "it is encrypted already"
    assert stream.rotate_key().key_id == 2
    stream.put_record(words[2], "k")
    assert stream.stop_encryption() == (False, 0, stream.encryption.keys)
    stream.put_record(words[3], "k")
    assert [record.data for record in stream.read()] == words
    assert on_disk(tmp_path / "data", *words) == {words[0], words[3]}
    assert [key.key_id for key in stream.encryption.keys] == [1, 2]
    assert stream.start_encryption().key_id == 3, "a key that was left is not taken up again"


def test_encrypted_puts_raise_what_plain_ones_raise(crypted):
    """Bad input gets the error of the fast door, before a byte moves."""
    plain, other = crypted.create_stream("plain", 2), crypted.create_stream("other", 2)
    other.start_encryption()
    size = plain.info.max_record_size
    for arguments in [
        ((b"x", ""), {}),
        ((b"x", "k" * 257), {}),
        ((b"x", "\ud800"), {}),
        ((b"x", None), {}),
        ((b"x", 1), {}),
        (("x", "k"), {}),
        ((b"x", "k"), {"explicit_hash_key": -1}),
        ((b"x", "k"), {"explicit_hash_key": 1 << 128}),
        ((b"x", "k"), {"explicit_hash_key": "1"}),
        ((b"x" * size, "k"), {}),
    ]:
        outcomes = []
        for stream in (plain, other):
            with pytest.raises(errors.StreamStoreError) as caught:
                stream.put_record(*arguments[0], **arguments[1])
            assert "entry" not in str(caught.value)
            outcomes.append(type(caught.value))
        assert outcomes[0] == outcomes[1]
    for entries in ([(b"x", "k"), (b"x", None)], [(b"x", "k"), 5], [(b"x", "k"), {"no": b""}], "text", 5):
        kinds = []
        for stream in (plain, other):
            with pytest.raises(errors.StreamStoreError) as caught:
                stream.put_records(entries)
            kinds.append(type(caught.value))
        assert kinds[0] == kinds[1]
    assert list(other.read()) == []
    assert list(other.put_records([])) == []


def test_one_read_of_many_small_records_opens_them_all(crypted):
    """A chunk is filled by several calls of the core where its records are small; the seals of all but the first call
    were once looked for among the records of the first, so that sound records were told as damage."""
    stream = crypted.create_stream("s")
    stream.start_encryption()
    data = [b"%d" % n for n in range(6000)]
    stream.put_records([(each, "k") for each in data])
    records, *_, status, _, _ = stream.log(0).read(64, 0, len(data), 600 << 10)
    assert status == 0
    assert [record.data for record in records] == data


def test_what_nobody_has_opened_is_not_taken_apart(crypted):
    """An aggregate in an encrypted record is ciphertext: it stays one record until it is opened."""
    stream = crypted.create_stream("s")
    stream.start_encryption()
    packed = aggregates.aggregate([(b"a", "k", None), (b"b", "k", None)], 0, 0, 50_000, 10, 1 << 20)[0][0]
    stream.put_record(packed, "a")
    sealed = stream.log(0).fetch(64, 0, 10, 1 << 16)[0]
    assert aggregates.deaggregate_records(sealed, 0, 0, (1 << 128) - 1) == (sealed, 0)
    opened = stream.log(0).read(64, 0, 10, 1 << 16)[0]
    assert [each.data for each in aggregates.deaggregate_records(opened, 0, 0, (1 << 128) - 1)[0]] == [b"a", b"b"]


# ---- keys that are not there ----


@pytest.mark.parametrize("other", ["none", "wrong", "missing file", "open to all"])
def test_without_the_key_everything_else_works(tmp_path, ring, other):
    """A read delivers what stands before, then says which stream, key and ring; other streams are as ever."""
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        stream = store.create_stream("s")
        stream.put_records([(b"one", "k"), (b"two", "k")])
        stream.start_encryption()
        sealed = stream.put_record(SECRET, KEY)
        store.create_stream("t").put_record(b"of another stream", "k")
    spare = str(tmp_path / "spare.key")
    if other == "wrong":
        key_file.create(spare)
    if other == "open to all":
        os.chmod(ring, 0o644)
        spare = ring
    with streamstore.open(tmp_path / "data", key_ring=None if other == "none" else spare) as store:
        stream, found = store.stream("s"), []
        with pytest.raises(
            errors.KeyUnavailableError, match=r"'s': data key 1 .*(key ring|master\.key|spare\.key)"
        ) as told:
            found.extend(record.data for record in stream.read())
        assert found == [b"one", b"two"]
        shard = stream.shards()[0]
        batch = shard.read()
        assert [record.data for record in batch] == [b"one", b"two"]
        for read in (
            lambda: shard.read(batch.next_position),
            lambda: shard.get(sealed.sequence_number),
            lambda: shard.read_arrow(batch.next_position),
            lambda: stream.last(1),
            lambda: stream.put_record(SECRET, KEY),
            lambda: stream.put_records([(SECRET, KEY)]),
            lambda: shard.append([(SECRET, KEY)]),
            *([stream.rotate_key] if other != "wrong" else []),
        ):
            with pytest.raises(errors.KeyUnavailableError):
                read()
        assert isinstance(pickle.loads(pickle.dumps(told.value)), errors.KeyUnavailableError)
        assert stream.encryption.enabled
        assert store.stats()["streams"]
        assert shard.record_count == 3
        assert [record.data for record in store.stream("t").read()] == [b"of another stream"]
        stream.stop_encryption()
        stream.put_record(b"plain again", "k")


def test_a_new_master_key_takes_over(tmp_path, ring):
    """Rewrapped data keys need the new master alone; with one key lost nothing is changed."""
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        stream = store.create_stream("s")
        stream.start_encryption()
        stream.put_record(SECRET, KEY)
        stream.rotate_key()
        before = stream.encryption
        new = key_file.add(ring)
        after = stream.rewrap_keys()
        assert {key.master for key in before.keys}.isdisjoint({key.master for key in after.keys})
        assert [key[:2] + key[3:] for key in after.keys] == [key[:2] + key[3:] for key in before.keys]
        stream.put_record(SECRET, KEY)
    with open(ring, "w", encoding="ascii") as file:
        file.write(new.hex())
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        assert [record.data for record in store.stream("s").read()] == [SECRET, SECRET]
    key_file.create(str(tmp_path / "other.key"))
    with streamstore.open(tmp_path / "data", key_ring=tmp_path / "other.key") as store:
        with pytest.raises(errors.KeyUnavailableError):
            store.stream("s").rewrap_keys()
        assert store.stream("s").encryption == after


def test_encryption_without_a_ring_is_refused(store):
    """Starting needs a ring; stopping what never began changes nothing."""
    stream = store.create_stream("s")
    with pytest.raises(errors.KeyUnavailableError, match="key_ring"):
        stream.start_encryption()
    with pytest.raises(errors.KeyUnavailableError, match="key_ring"):
        stream.rotate_key()
    assert stream.stop_encryption() == (False, 0, ())


def test_the_missing_package_is_named(tmp_path, ring, monkeypatch):
    """Without cryptography the error says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        with pytest.raises(errors.KeyUnavailableError, match=r"streamstore-kinesis\[crypto\]"):
            store.create_stream("s").start_encryption()


def test_no_key_is_in_a_file_a_log_an_error_a_repr_or_a_pickle(tmp_path, ring, caplog, monkeypatch):
    """Neither the master key nor a data key, raw or in hex, anywhere but in the key file."""
    caplog.set_level(logging.DEBUG)
    data_keys = []
    real = keys.cipher

    def spy(key):
        data_keys.append(key)
        return real(key)

    monkeypatch.setattr(keys, "cipher", spy)
    shown = []
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        stream = store.create_stream("s")
        stream.start_encryption()
        stream.put_record(SECRET, KEY)
        stream.rotate_key()
        stream.put_record(SECRET, KEY)
        shown += [repr(item) for item in (store, stream, stream.keys, store.key_ring, stream.encryption, stream.info)]
        shown += [repr(store.stats()), pickle.dumps(store), pickle.dumps(stream)]
        with pytest.raises(TypeError):
            pickle.dumps(stream.keys)
    key_file.create(str(tmp_path / "other.key"))
    with streamstore.open(tmp_path / "data", key_ring=tmp_path / "other.key") as store:
        with pytest.raises(errors.KeyUnavailableError) as told:
            list(store.stream("s").read())
    shown += [str(told.value), repr(told.value), caplog.text]
    assert len(set(data_keys)) == 3  # a master and two data keys
    texts = [item if isinstance(item, bytes) else item.encode() for item in shown]
    for key in data_keys:
        words = (key, key.hex().encode(), repr(key).encode())
        assert not [text for text in texts for word in words if word in text]
        assert on_disk(tmp_path / "data", *words) == set()


def test_an_encrypted_queue_says_nothing_in_plain(tmp_path, ring):
    """Messages, those put once by an id among them, and the copies that are made where a few hold much."""
    with streamstore.open(tmp_path / "data", key_ring=ring, durability="process") as store:
        queue = store.queue("jobs")
        queue.stream.start_encryption()
        for number in range(20):
            queue.put({"secret": SECRET, "number": number})
            queue.put({"secret": SECRET}, id=f"id-of-a-secret-{number}")
        assert [message.body["secret"] for message in queue.get_many(3, timeout=5)] == [SECRET] * 3
        trimmer = queue.engine.trimmer
        copied = {record.position: record for record in list(queue.stream.read())[:3]}
        trimmer._park(list(copied), copied.get)
        moved = queue.engine.journal.state.moved
        assert {name: trimmer.fetch(name, moved[name]) for name in copied} == copied
    assert on_disk(tmp_path / "data", SECRET, b"id-of-a-secret") == set()


def test_compaction_opens_compresses_and_seals(tmp_path, ring):
    """Encrypted records get smaller, and stay records of the same number that nobody reads without the key."""
    text = b"a secret nobody may find, told again and again " * 20
    with streamstore.open(tmp_path / "data", key_ring=ring, durability="process", maintenance=False) as store:
        stream = store.create_stream("s", segment_size=1 << 18)
        stream.put_record(b"in plain", "k")
        stream.start_encryption()
        for number in range(1000):
            stream.put_record(text + b"%d" % number, KEY, explicit_hash_key=number if number % 2 else None)
            if number == 500:
                stream.rotate_key()
        stream.stop_encryption()
        stream.put_records([(b"in plain" * 1000, "k")] * 40)
        before = list(stream.read())
        size = sum(item.disk_bytes for item in stream.shards()[0].segments() if item.live)
        done = stream.compact(rate=0)
        assert done.segments
        assert not done.left_alone
        found = stream.shards()[0].segments()  # one that is only made ready for what comes counts for nothing
        assert sum(item.disk_bytes for item in found if item.live) < size / 3, found
        assert list(stream.read()) == before
        assert stream.shards()[0].get(before[400].sequence_number) == before[400]
    assert on_disk(tmp_path / "data", text, KEY.encode()) == set()
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        assert list(store.stream("s").read()) == before
    with streamstore.open(tmp_path / "data") as store:
        with pytest.raises(errors.KeyUnavailableError, match="'s': data key 2"):
            list(store.stream("s").read())
        assert not store.stream("s").compact(rate=0).files
        assert store.stream("s").shards()[0].record_count == len(before)
        assert store.stats()["streams"]


def test_compaction_leaves_alone_what_it_has_no_key_for(tmp_path, ring):
    """Encrypted segments stay as they are, with a reason; nothing is lost."""
    with streamstore.open(tmp_path / "data", key_ring=ring, durability="process", maintenance=False) as store:
        stream = store.create_stream("s", segment_size=1 << 18)
        stream.start_encryption()
        for _ in range(6):
            stream.put_records([(SECRET * 100, KEY)] * 50)
        before = list(stream.read())
    with streamstore.open(tmp_path / "data", maintenance=False) as store:
        done = store.stream("s").compact(rate=0)
        assert done.files == 0
        assert "data key 1" in done.left_alone[0]
    with streamstore.open(tmp_path / "data", key_ring=ring, maintenance=False) as store:
        assert store.stream("s").compact(rate=0).files
        assert list(store.stream("s").read()) == before


def test_the_async_twin_changes_encryption(tmp_path, ring):
    """Start, rotation, rewrapping and stop off the loop."""

    async def life():
        async with await streamstore.aio.open(tmp_path / "data", key_ring=ring) as store:
            stream = await store.create_stream("s")
            assert (await stream.start_encryption()).key_id == 1
            await stream.put_record(SECRET, KEY)
            assert (await stream.rotate_key()).key_id == 2
            assert (await stream.rewrap_keys()).key_id == 2
            assert not (await stream.stop_encryption()).enabled
            return stream.encryption, [record.data async for record in stream.read()]

    facts, found = asyncio.run(life())
    assert (facts.enabled, len(facts.keys), found) == (False, 2, [SECRET])


def test_a_description_holds_as_many_keys_as_it_has_room_for(crypted):
    """With too many data keys the present one and the settings still stand in segment headers."""
    stream = crypted.create_stream("s")
    for _ in range(3):
        stream.rotate_key()
    info = stream.check()
    assert description.parse(description.describe(info, 0), info.id, 0)["keys"] == info.keys
    many = replace(info, keys=dict.fromkeys(range(1, 60), info.keys[1]), key_id=59)
    said = description.parse(description.describe(many, 0), info.id, 0)
    assert said["keys"] == {59: info.keys[1]}
    assert said["terms"] == info.terms == 3


def test_arrow_reads_any_number_of_encrypted_records(crypted):
    """However little of its room the last records leave: a read was refused where that was less than a frame."""
    pytest.importorskip("pyarrow")
    stream = crypted.create_stream("s", 1)
    stream.start_encryption()
    sizes = [10] * 200 + [n * 8 for n in range(900, 1000)] + [30_000]
    stream.put_records([(bytes([n % 251]) * size, KEY) for n, size in enumerate(sizes)])
    shard = stream.shards()[0]
    for limit in range(20, 120, 7):
        found, position = [], None
        while (batch := shard.read_arrow(position, limit)).num_rows:
            found += batch.column("data").to_pylist()
            position = json.loads(batch.schema.metadata[b"next_position"])
        assert [len(data) for data in found] == sizes
