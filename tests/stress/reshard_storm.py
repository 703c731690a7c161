"""A program that reshards a stream at random while others write and follow, and kills the resharders at any moment.

Every key counts its records from 0. Four writers put them and may meet no error; three followers (one plain, one
merged, one that goes on from a saved position all the time) and a last read must see each key count without a gap or a
repeat; and all that they noted is held to a history (history.py). Ends with status 0 and a line of figures, or with a
line that says what was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import proof

import streamstore
from streamstore import errors

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import history
from notes import Notes, told

WRITERS = 4
KEYS = 24
OPEN_MAX = 12
ITEM = struct.Struct("<III")  # writer, key, how many this key had before
FOLLOWERS = ("plain", "merged", "saved")


def name_of(record: Any) -> history.Name:
    """A record as the history knows it: a writer's key is a producer of its own."""
    writer, key, n = ITEM.unpack(record.data)
    return writer * KEYS + key, n


class Tally:
    """How many records of each (writer, key) were seen, which come one after the other."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.seen: dict[tuple[int, int], int] = {}

    def take(self, records: Iterable[Any]) -> None:
        """Raise Failure for a gap, a repeat or another order."""
        for record in records:
            writer, key, n = ITEM.unpack(record.data)
            expected = self.seen.get((writer, key), 0)
            if n != expected:
                place = f"{record.shard_id} at {record.position}"
                raise proof.Failure(f"{self.who}: {n} of key {writer}-{key} came where {expected} was next ({place})")
            self.seen[writer, key] = n + 1

    def dump(self, path: Path) -> None:
        """For the parent, whole or not at all."""
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(sorted([*key, count] for key, count in self.seen.items())))
        aside.rename(path)


def write_on(root: Path, writer: int, seed: int) -> None:
    """Put until the stop file is there: single records and batches over all shards. No call may fail."""
    chance = random.Random(seed)
    tally, notes = Tally("a writer"), Notes(root / f"notes-writer-{writer}")
    with streamstore.open(root / "store", create=False) as store:
        stream = store.stream("s")
        while not (root / "stop").exists():
            entries, names = [], []
            for _ in range(chance.choice((1, 1, 5, 60))):
                key = chance.randrange(KEYS)
                n = tally.seen.get((writer, key), 0)
                tally.seen[writer, key] = n + 1
                names.append((writer * KEYS + key, n))
                entries.append((ITEM.pack(writer, key, n), f"{writer}-{key}"))
            notes.begun(names)
            if len(entries) == 1:
                results: Any = [stream.put_record(*entries[0])]
            else:
                results = stream.put_records(entries)
            notes.acked(names, results)
            time.sleep(0.004)
    tally.dump(root / f"writer-{writer}")


def _in_pieces(stream: Any, root: Path, chance: random.Random) -> Iterator[list[Any]]:
    """Batches, by a new reader from a saved position (as JSON) every while."""
    position = "TRIM_HORIZON"
    while True:
        quiet = (root / "written").exists()
        found = False
        with stream.read(position, follow=chance.random() < 0.5, timeout=0.2) as reader:
            for _ in range(chance.randrange(1, 20)):
                batch = next(reader.batches(), None)
                if batch is None:
                    break
                found = True
                yield batch
            position = json.loads(json.dumps(reader.position))
        if quiet and not found:
            return


def follow_on(root: Path, how: str, seed: int) -> None:
    """See every record once, until nobody writes any more."""
    tally, notes = Tally(how), Notes(root / f"notes-follower-{how}")

    def take(batch: Any) -> None:
        notes.saw(how, ((name_of(record), record) for record in batch))
        tally.take(batch)

    with streamstore.open(root / "store", create=False) as store:
        stream = store.stream("s")
        if how == "saved":
            for batch in _in_pieces(stream, root, random.Random(seed)):
                take(batch)
        else:
            with stream.read(follow=True, merge=how == "merged", timeout=6) as reader:
                for batch in reader.batches():
                    take(batch)
    tally.dump(root / f"follower-{how}")


def reshard_on(root: Path, seed: int) -> None:
    """Split, merge and set counts until killed; what another made impossible meanwhile is chosen anew."""
    chance = random.Random(seed)
    with streamstore.open(root / "store", create=False) as store:
        stream = store.stream("s")
        while True:
            shards = [stream.lazy_shard(index) for index in stream.check().lineage.open]
            try:
                if chance.random() < 0.1:
                    stream.update_shard_count(chance.randrange(1, 6))
                elif len(shards) > 1 and (len(shards) >= OPEN_MAX or chance.random() < 0.5):
                    place = chance.randrange(len(shards) - 1)
                    stream.merge_shards(shards[place].id, shards[place + 1].id)
                else:
                    parent = chance.choice(shards)
                    stream.split_shard(parent.id, chance.randrange(parent.hash_range.start, parent.hash_range.end) + 1)
            except errors.InvalidArgumentError:
                continue


def steps_done(store: Any) -> int:
    """How many splits and merges were committed."""
    nodes = store.stream("s").check().shards.values()
    return len({node.children for node in nodes if node.closed is not None})


def storm(root: Path, wanted: int, chance: random.Random) -> int:
    """Start resharders, two at a time, and kill them, until enough was done; returns how many were killed."""
    kills = 0
    alive: list[int] = []
    with streamstore.open(root / "store") as store:
        while steps_done(store) < wanted:
            while len(alive) < 2:
                alive.append(proof.in_child(reshard_on, root, chance.randrange(1 << 30)))
            time.sleep(chance.choice((0.02, 0.1, 0.3, 0.6)) * chance.random())
            victim = alive.pop(chance.randrange(2))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            kills += 1
    for victim in alive:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    return kills + len(alive)


def check(root: Path) -> tuple[int, int]:
    """Hold what was put against what was seen; every open shard must take a record. Returns records and shards."""
    put = sorted(item for who in range(WRITERS) for item in json.loads((root / f"writer-{who}").read_text()))
    for how in FOLLOWERS:
        if json.loads((root / f"follower-{how}").read_text()) != put:
            seen = sum(count for *_, count in json.loads((root / f"follower-{how}").read_text()))
            raise proof.Failure(f"the {how} follower saw {seen} records, not {sum(count for *_, count in put)} as put")
    with streamstore.open(root / "store") as store:
        stream = store.stream("s")
        check_history(root, stream)
        for merge in (False, True):
            tally = Tally("a last read")
            tally.take(stream.read(merge=merge))
            if sorted([*key, count] for key, count in tally.seen.items()) != put:
                raise proof.Failure("a read from the start does not give what was put")
        stream.update_shard_count(3)
        for shard in stream.shards():
            if not shard.is_closed:
                result = stream.put_record(b"", "k", explicit_hash_key=shard.hash_range.start)
                if result.shard_id != shard.id:
                    raise proof.Failure(f"{shard.id} owns {shard.hash_range.start} and did not get it")
        if stream.check().pending is not None:
            raise proof.Failure("a step stands that nobody finished")
        return sum(count for *_, count in put), len(stream.shards())


def check_history(root: Path, stream: Any) -> None:
    """Hold the shards to all that writers and followers noted. Raises Failure."""
    shards = {
        shard.id: [history.Found(int(record.sequence_number), name_of(record)) for record in proof.read_shard(shard)]
        for shard in stream.shards()
    }
    if wrong := history.check(told(root.glob("notes-*")), shards, by_key=True):
        raise proof.Failure(f"{len(wrong)} things are wrong in the history, the first: {wrong[0]}")


def main() -> None:
    """Run it all in the directory given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--reshards", type=int, default=200)
    parser.add_argument("--durability", default="process")
    options = parser.parse_args()
    options.root.mkdir()
    chance = random.Random(options.seed)
    with streamstore.open(options.root / "store") as store:
        store.create_stream("s", 3, durability=options.durability, segment_size=1 << 20)
    children = [proof.in_child(write_on, options.root, who, options.seed + who) for who in range(WRITERS)]
    children += [proof.in_child(follow_on, options.root, how, options.seed) for how in FOLLOWERS]
    try:
        kills = storm(options.root, options.reshards, chance)
    finally:
        (options.root / "stop").touch()
    broken = [pid for pid in children[:WRITERS] if os.waitpid(pid, 0)[1]]
    (options.root / "written").touch()  # not before: the last put of a writer may have waited for the disk
    broken += [pid for pid in children[WRITERS:] if os.waitpid(pid, 0)[1]]
    if broken:
        raise proof.Failure(f"{len(broken)} writers or followers failed")
    records, shards = check(options.root)
    print(f"{records} records, {shards} shards, {kills} resharders killed")


if __name__ == "__main__":
    main()
