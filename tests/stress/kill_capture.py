"""A program that kills captures of a Kinesis endpoint at random moments, while others put to it and reshard it.

The end is compared with what the endpoint itself gives: data, keys, order within each shard, numbers, times, parents,
each record once. Then the capture is replayed into a fresh server of ours and captured again: the same data and order,
and the same gaps, each record having arrived while it was sent; they are held to the bar of a replay's timing where the
machine let the replay and its calls keep to it. Ends with status 0 and figures, or with an assertion that says what was
broken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import time
from pathlib import Path
from typing import Any

import proof
from endpoints import active, all_records, all_shards, endpoint, make_stream

import streamstore
from streamstore.capture import Capture
from streamstore.clock import to_us
from streamstore.histogram import Histogram
from streamstore.replay import Replay
from streamstore.targets import KinesisTarget

STREAM = "s"
# The bar of a replay's timing error, at the median and at the 99th percentile, in microseconds.
BAR_US = {50: 1_000, 99: 5_000}
# The API tells arrivals in milliseconds, cut off: of two captures each may be wrong by so much.
RESOLUTION_US = 1_000
FORK = multiprocessing.get_context("fork")  # a capture begins at once, and can be killed soon


class Load:
    """Puts numbered records until it is told to end, some with hash keys of their own; splits and merges at times."""

    def __init__(self, client: Any, seed: int, reshards_at_all: bool) -> None:
        self.client = client
        self.reshards_at_all = reshards_at_all
        self.chance = random.Random(seed)
        self.count = self.reshards = 0

    def run(self, over: Any, answer: Any) -> None:
        """Until `over`; gives how many records and reshards there were."""
        proof.die_with_parent()
        while not over.is_set():
            self.put()
            if self.reshards_at_all and self.chance.random() < 0.05:
                self.reshard()
        answer.put((self.count, self.reshards))

    def put(self) -> None:
        entries = []
        for _ in range(self.chance.choice((1, 5, 40))):
            entry: dict[str, Any] = {"Data": b"%d" % self.count, "PartitionKey": f"user-{self.count % 23}"}
            if self.count % 5 == 0:
                entry["ExplicitHashKey"] = str(self.chance.getrandbits(128))
            entries.append(entry)
            self.count += 1
        answer = self.client.put_records(StreamName=STREAM, Records=entries)
        assert not answer["FailedRecordCount"], answer
        time.sleep(0.005)

    def reshard(self) -> None:
        is_open = [
            each
            for each in all_shards(self.client, STREAM)
            if "EndingSequenceNumber" not in each["SequenceNumberRange"]
        ]
        is_open.sort(key=lambda each: int(each["HashKeyRange"]["StartingHashKey"]))
        if len(is_open) < 5:
            one = self.chance.choice(is_open)
            first, last = (int(one["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
            middle = str(self.chance.randrange(first + 1, last))
            self.client.split_shard(StreamName=STREAM, ShardToSplit=one["ShardId"], NewStartingHashKey=middle)
        else:
            at = self.chance.randrange(len(is_open) - 1)
            two = [is_open[at]["ShardId"], is_open[at + 1]["ShardId"]]
            self.client.merge_shards(StreamName=STREAM, ShardToMerge=two[0], AdjacentShardToMerge=two[1])
        self.reshards += 1
        active(self.client, STREAM)


def capture_until_killed(directory: Path, url: str, begun: Any, mirror: bool) -> None:
    """A capture that only a kill ends; it says when it has begun."""
    proof.die_with_parent()
    with streamstore.open(directory, durability="process") as store:
        stream = store.create_stream(STREAM, shard_count=2, exist_ok=True)
        with Capture(stream, f"{url}/{STREAM}", interval=0.05, mirror_shards=mirror) as capture:
            capture.run(progress=lambda _: begun.set())


def kill_captures(directory: Path, url: str, kills: int, chance: random.Random, mirror: bool) -> None:
    """One after the other, each killed after a while in which it has begun, or has not."""
    for _ in range(kills):
        begun = FORK.Event()
        process = FORK.Process(target=capture_until_killed, args=(directory, url, begun, mirror))
        process.start()
        if chance.random() < 0.8:
            begun.wait(60)
        process.join(chance.uniform(0, 3))
        assert process.exitcode is None, f"a capture ended by itself: {process.exitcode}"
        process.kill()
        process.join()


def check(captured: Any, truth: dict[str, list[dict[str, Any]]], parents: dict[str, list[str]]) -> int:
    """Compare a capture with what the endpoint gives; returns how many records there are."""
    wanted = {
        (shard_id, each["SequenceNumber"]): (
            each["Data"],
            each["PartitionKey"],
            to_us(each["ApproximateArrivalTimestamp"]),
            parents[shard_id],
        )
        for shard_id, records in truth.items()
        for each in records
    }
    found: dict[tuple[str, str], Any] = {}
    last: dict[tuple[str, str], int] = {}
    for record in captured.read():
        source = record.source
        where = source["shard_id"], source["sequence_number"]
        assert where not in found, f"{where} is there twice"
        found[where] = record.data, record.partition_key, source["arrival_us"], source.get("parents", [])
        lane = record.shard_id, source["shard_id"]
        assert last.get(lane, -1) < int(where[1]), f"{where} is out of order"
        last[lane] = int(where[1])
    missing = wanted.keys() - found.keys()
    assert not missing, f"{len(missing)} of {len(wanted)} records are missing, {sorted(missing)[:3]}"
    assert not found.keys() - wanted.keys(), "records that the source does not have"
    wrong = [where for where in wanted if wanted[where] != found[where]]
    assert not wrong, f"{len(wrong)} differ, {[(wanted[where], found[where]) for where in wrong[:3]]}"
    return len(found)


def check_shards(captured: Any, truth: list[dict[str, Any]]) -> None:
    """Each shard of the source has one of the capture that has its hash keys, and all of its records."""
    ranges = {each["ShardId"]: tuple(map(int, each["HashKeyRange"].values())) for each in truth}
    homes: dict[str, set[str]] = {}
    for record in captured.read():
        homes.setdefault(record.source["shard_id"], set()).add(record.shard_id)
    for shard_id, home in homes.items():
        found = [tuple(captured.shard(each).hash_range) for each in home]
        assert found == [tuple(sorted(ranges[shard_id]))], f"{shard_id} is in {home}: {found}"


def again(captured: Any, directory: Path, speed: float) -> None:
    """Replay a capture into a fresh server and capture that: the same data, in the same order for each key, and each
    record arrived there while it was sent. So gaps differ by no more than what the replay was late and a call took.
    """
    with endpoint("ours", directory / "fresh") as (url, client):
        make_stream(client, STREAM, 3)
        replay = Replay(captured, by="source", speed=speed)
        target = KinesisTarget(client, STREAM)
        sent: dict[bytes, tuple[float, float]] = {}
        calls = Histogram()
        for batch in replay.batches():
            begun = time.time()
            target.send(batch)
            ended = time.time()
            sent.update(dict.fromkeys([record.data for record in batch], (begun * 1e6, ended * 1e6)))
            calls.add(int((ended - begun) * 1e6))
        told("timing error of the replay", replay.timing)
        told("time of the calls", calls)
        with streamstore.open(directory / "second", durability="process") as store:
            second = store.create_stream(STREAM, shard_count=3)
            with Capture(second, f"{url}/{STREAM}", interval=0.05) as capture:
                capture.run(follow=False)
            errors = compare(captured, second, speed)
            for record in second.read():
                begun, ended = sent[record.data]
                assert begun - RESOLUTION_US <= record.source["arrival_us"] <= ended, record.data
    told(f"difference of the gaps beyond the {RESOLUTION_US / 1000:g} ms that the API tells", errors)
    if keeps_the_bar(replay.timing) and keeps_the_bar(calls):
        assert keeps_the_bar(errors), "the second capture has other gaps"
    else:
        print("this machine was too busy for the replay to keep its bar: the gaps are not held to it")


def keeps_the_bar(times: Histogram) -> bool:
    """Whether a timing error is what a replay promises on an idle machine."""
    return all(times.percentile(share) < most for share, most in BAR_US.items())


def compare(one: Any, other: Any, speed: float) -> Histogram:
    """Two captures have the same data, and each key's in the same order; by how much the gaps at their sources differ.

    What all records of the second are late by is no gap: the median of it counts as nothing. Where shards of the source
    came into one shard of the capture, a record is due with the one before it that had arrived later: docs/replay.md.
    """
    by_key: list[dict[Any, list[bytes]]] = [{}, {}]
    arrivals: list[dict[bytes, int]] = [{}, {}]
    due: dict[str, int] = {}
    for index, stream in enumerate((one, other)):
        for record in stream.read():
            by_key[index].setdefault((record.partition_key, placed(record)), []).append(record.data)
            arrival = record.source["arrival_us"]
            if index == 0:
                arrival = due[record.shard_id] = max(arrival, due.get(record.shard_id, 0))
            arrivals[index][record.data] = arrival
    for found in by_key:
        for (_, torn), data in found.items():
            data[:] = sorted(data) if torn else data
    assert by_key[0] == by_key[1], [key for key in by_key[0] if by_key[0][key] != by_key[1].get(key)][:3]
    late = [arrivals[1][data] - int(arrival / speed) for data, arrival in arrivals[0].items()]
    usual = statistics.median_low(late)
    errors = Histogram()
    errors.add_all([max(0, abs(each - usual) - RESOLUTION_US) for each in late])
    return errors


def placed(record: Any) -> bool:
    """Whether a hash key of its own placed it, which tears the order of its partition key over shards."""
    return int(record.data) % 5 == 0 and bool(record.partition_key)


def told(what: str, times: Histogram) -> None:
    """Print the figures of times in microseconds."""
    print(what, *(f"p{share} {times.percentile(share) / 1000:.3f} ms" for share in (50, 90, 99, 100)))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kind", default="ours")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--mirror", action="store_true", help="captures have the shards of their source")
    options = parser.parse_args()
    options.directory.mkdir(parents=True)
    with endpoint(options.kind, options.directory / "origin") as (url, client):
        make_stream(client, STREAM, 2)
        over, answer = FORK.Event(), FORK.Queue()
        # moto puts a shard's records again when it is split: with new times, and numbers that others had.
        load = Load(client, options.seed, reshards_at_all=options.kind != "moto")
        process = FORK.Process(target=load.run, args=(over, answer))
        process.start()
        kill_captures(options.directory / "copy", url, options.kills, random.Random(options.seed), options.mirror)
        over.set()
        put, reshards = answer.get(timeout=60)
        process.join()
        with streamstore.open(options.directory / "copy", create=False) as store:
            captured = store.stream(STREAM)
            had = sum(shard.record_count for shard in captured.shards())
            with Capture(captured, f"{url}/{STREAM}", interval=0.05, mirror_shards=options.mirror) as capture:
                rest = capture.run(follow=False).records
            parents = {
                each["ShardId"]: [each[name] for name in ("ParentShardId", "AdjacentParentShardId") if each.get(name)]
                for each in all_shards(client, STREAM)
            }
            count = check(captured, all_records(client, STREAM), parents)
            assert count == put, f"{count} of {put}"
            if options.mirror:
                check_shards(captured, all_shards(client, STREAM))
            print(f"{options.kind}: {count} records, {had} before the last run, {rest} in it, {reshards} reshards")
            again(captured, options.directory, options.speed)


if __name__ == "__main__":
    main()
