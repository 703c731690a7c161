"""Random operations against a model too simple to be wrong: a list per shard.

Puts of every kind, reads from every kind of start, saved positions, reopening, clearing, recreating; after each step
the store and the lists agree.
"""

from __future__ import annotations

import json
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import streamstore
from streamstore import routing

KEYS = st.sampled_from([f"key-{index}" for index in range(12)])
DATA = st.binary(max_size=300)


class Oracle(RuleBasedStateMachine):
    """The store under test beside its model."""

    @initialize(shards=st.integers(1, 5), durability=st.sampled_from(["sync", "interval", "process"]))
    def begin(self, shards, durability):
        self.path = tempfile.mkdtemp(prefix="streamstore-oracle-")
        self.shards, self.durability = shards, durability
        self.ranges = routing.uniform_ranges(shards)
        self.store = streamstore.open(self.path)
        self.make()

    def make(self):
        self.stream = self.store.create_stream(
            "s", self.shards, durability=self.durability, segment_size=128 * 1024, max_record_size=10_000
        )
        self.lists = [[] for _ in range(self.shards)]
        self.cleared = [0] * self.shards
        self.saved = []

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.path)

    def took(self, result, data, key, hash_key):
        index = routing.route(self.ranges, routing.hash_key(key) if hash_key is None else hash_key)
        assert result.shard_id == routing.shard_id(index)
        own = self.lists[index]
        assert not own or int(result.sequence_number) > int(own[-1][0])
        own.append((result.sequence_number, data, key, hash_key))

    @rule(data=DATA, key=KEYS, hash_key=st.none() | st.integers(0, (1 << 128) - 1))
    def put_record(self, data, key, hash_key):
        self.took(self.stream.put_record(data, key, explicit_hash_key=hash_key), data, key, hash_key)

    @rule(entries=st.lists(st.tuples(DATA, KEYS, st.none() | st.integers(0, (1 << 128) - 1)), max_size=40))
    def put_records(self, entries):
        for entry, result in zip(entries, self.stream.put_records(entries), strict=True):
            self.took(result, *entry)

    @rule(data=st.binary(min_size=5000, max_size=9000), key=KEYS)
    def put_large(self, data, key):
        for _ in range(8):
            self.took(self.stream.put_record(data, key), data, key, None)

    @rule(merge=st.booleans(), stop=st.integers(0, 60))
    def save(self, merge, stop):
        reader = self.stream.read(merge=merge)
        for _, _record in zip(range(stop), reader, strict=False):
            continue
        position = json.loads(json.dumps(reader.position))
        counts = [0] * self.shards
        for record in self.stream.read(end=position):
            counts[routing.shard_index(record.shard_id)] += 1
        assert sum(counts) == min(stop, sum(len(own) - cut for own, cut in zip(self.lists, self.cleared, strict=True)))
        self.saved.append((position, [cut + count for cut, count in zip(self.cleared, counts, strict=True)]))

    @rule(pick=st.randoms(use_true_random=False), merge=st.booleans())
    def go_on_from_a_saved_position(self, pick, merge):
        if self.saved:
            position, counts = pick.choice(self.saved)
            begins = [max(count, cut) for count, cut in zip(counts, self.cleared, strict=True)]
            self.agree(self.stream.read(position, merge=merge, on_trimmed="skip"), begins)

    @rule(reopen=st.booleans())
    def close_and_open(self, reopen):
        self.store.close()
        self.store = streamstore.open(self.path, create=False)
        self.stream = self.store.stream("s")

    @rule()
    def clear(self):
        self.stream.clear()
        self.cleared = [len(own) for own in self.lists]

    @rule()
    def delete_and_create_again(self):
        highest = max((int(own[-1][0]) for own in self.lists if own), default=0)
        self.store.delete_stream("s")
        self.make()
        assert int(self.stream.put_record(b"first", "k").sequence_number) > highest
        self.stream.clear()

    @rule(pick=st.randoms(use_true_random=False))
    def get_one(self, pick):
        index = pick.randrange(self.shards)
        own = self.lists[index][self.cleared[index] :]
        if own:
            place = pick.randrange(len(own))
            shard = self.stream.shards()[index]
            assert shard.get(own[place][0]).data == own[place][1]
            assert [record.data for record in shard.read(at=own[place][0], limit=3)] == [
                item[1] for item in own[place : place + 3]
            ]
            assert [record.data for record in shard.read(after=own[place][0], limit=3)] == [
                item[1] for item in own[place + 1 : place + 4]
            ]

    @rule(n=st.integers(0, 20))
    def last(self, n):
        assert self.stream.last(n) == (list(self.stream.read(merge=True))[-n:] if n else [])

    def agree(self, records, begins):
        found = [[] for _ in range(self.shards)]
        for record in records:
            item = (record.sequence_number, record.data, record.partition_key, record.explicit_hash_key)
            found[routing.shard_index(record.shard_id)].append(item)
        assert found == [own[begin:] for own, begin in zip(self.lists, begins, strict=True)]

    @invariant()
    def everything_is_there_once_and_in_order(self):
        if hasattr(self, "store"):
            self.agree(self.stream.read(), self.cleared)
            for shard, own, cut in zip(self.stream.shards(), self.lists, self.cleared, strict=True):
                assert shard.record_count == len(own) - cut


Oracle.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOracle = Oracle.TestCase
