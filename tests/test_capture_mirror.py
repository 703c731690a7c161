"""Capture(mirror_shards=True): the shards of a capture are those of its source, however it was split and merged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from command_line import run, succeed

import streamstore
from streamstore import InvalidArgumentError, PutEntry
from streamstore.capture import Capture
from streamstore.capture.addresses import kinesis_source
from streamstore.capture.mirroring import Mirror, fit
from streamstore.capture.source import Taken
from streamstore.capture.streams import StreamSource
from streamstore.limits import HASH_KEY_END

pytest.importorskip("boto3")

KINDS: dict[str, Callable[[Any], Any]] = {
    "kinesis": lambda origin: kinesis_source(None, "s", client=origin.boto3_client(), interval=0.02),
    "store": lambda origin: StreamSource(origin.stream("s")),
}


@pytest.fixture
def origin() -> Iterator[Any]:
    """The store that is captured from."""
    with streamstore.temporary(durability="process") as store:
        yield store


@pytest.fixture
def copy() -> Iterator[Any]:
    """The stream that is captured into, whose shards are others than those of the source."""
    with streamstore.temporary(durability="process") as store:
        yield store.create_stream("copy", shard_count=3)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """Nobody waits here for more than a moment."""
    monkeypatch.setattr("streamstore.capture.kinesis.WAIT", 0.02)
    monkeypatch.setattr("streamstore.capture.polling.INTERVAL_BEHIND", 0.02)


class KilledError(Exception):
    """Stands for a kill."""


def reshard_and_put(stream: Any, seed: int, steps: int) -> None:
    """Splits at random places, merges of random neighbours, some of which get no record; numbered records between."""
    chance = random.Random(seed)
    for step in range(steps):
        shards = sorted((shard for shard in stream.shards() if not shard.is_closed), key=lambda shard: shard.hash_range)
        if step and (len(shards) < 3 or chance.random() < 0.5):
            parent = chance.choice(shards)
            stream.split_shard(parent.id, chance.randrange(parent.hash_range.start + 1, parent.hash_range.end))
        elif step:
            at = chance.randrange(len(shards) - 1)
            stream.merge_shards(shards[at].id, shards[at + 1].id)
        count = chance.choice((0, 1, 30))
        keys = [chance.randrange(HASH_KEY_END) for _ in range(count)]
        stream.put_records([PutEntry(b"%d %d" % (step, n), f"k{n}", key) for n, key in enumerate(keys)])


def is_mirrored(copied: Any, original: Any) -> bool:
    """Whether each shard of the source has one of the copy with its hash keys, and its records there in order, once."""
    ranges = {shard.id: shard.hash_range for shard in original.shards()}
    wanted: dict[str, list[tuple[bytes, str]]] = {}
    for record in original.read():
        wanted.setdefault(record.shard_id, []).append((record.data, record.sequence_number))
    found: dict[str, list[tuple[bytes, str]]] = {}
    homes: dict[str, set[str]] = {}
    for record in copied.read():
        unit = record.source["shard_id"]
        found.setdefault(unit, []).append((record.data, record.source["sequence_number"]))
        homes.setdefault(unit, set()).add(record.shard_id)
    placed = all(len(home) == 1 and copied.shard(*home).hash_range == ranges[unit] for unit, home in homes.items())
    return placed and found == wanted


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_every_shard_of_the_source_has_its_own(origin, copy, kind, seed):
    """By splits and merges at any place, captured afterwards in one go or between them; without it they are mixed."""
    stream = origin.create_stream("s", shard_count=2)
    rounds = (12,) if seed % 2 else (4, 4, 4)
    for number, steps in enumerate(rounds):
        reshard_and_put(stream, 10 * seed + number, steps)
        with Capture(copy, KINDS[kind](origin), mirror_shards=True) as capture:
            capture.run(follow=False)
    assert is_mirrored(copy, stream)
    with streamstore.temporary(durability="process") as store:
        plain = store.create_stream("plain", shard_count=3)
        with Capture(plain, KINDS[kind](origin)) as capture:
            capture.run(follow=False)
        assert not is_mirrored(plain, stream)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_dies_at_any_of_its_calls_is_gone_on_with(origin, copy, monkeypatch, kind, moment):
    """Before and after each split, merge and put in turn; the last run finds everything as it should be."""
    stream = origin.create_stream("s", shard_count=2)
    reshard_and_put(stream, 5, 6)
    left = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and moment == "before":
                raise KilledError
            done = call(*arguments)
            if left == 0:
                raise KilledError
            return done

        return called

    for name in ("split_shard", "merge_shards", "put_records"):
        monkeypatch.setattr(copy, name, dying(getattr(copy, name)))
    deaths = 0
    for calls in (1, 2, 3) * 20:
        left = calls
        try:
            with Capture(copy, KINDS[kind](origin), mirror_shards=True) as capture:
                capture.run(follow=False)
        except KilledError:
            deaths += 1
        else:
            break
    assert deaths >= 5
    assert is_mirrored(copy, stream)


def test_what_came_before_a_split_goes_before_it(copy):
    """A batch with the end of a shard and the beginnings of its children is put in pieces, with the splits between."""
    middle = HASH_KEY_END // 2
    keys = {"parent": (0, HASH_KEY_END - 1), "left": (0, middle - 1), "right": (middle, HASH_KEY_END - 1)}
    units = ["parent"] * 4 + ["left", "right", "left", "right"]
    batch = [Taken(unit, n, PutEntry(b"%d" % n, None, keys[unit][n % 2])) for n, unit in enumerate(units)]
    pieces = []
    for part in Mirror(copy, keys.__getitem__).parts(batch):
        copy.put_records([taken.entry for taken in part])
        pieces.append(len(part))
    assert (sum(pieces), pieces[0]) == (8, 4)
    homes = {int(record.data): copy.shard(record.shard_id).hash_range for record in copy.read()}
    assert homes == {n: keys[unit] for n, unit in enumerate(units)}


def test_shards_that_fit_stay(copy):
    """What is there already is not made again; a range over several shards becomes one, others are left alone."""
    before = [shard.id for shard in copy.shards()]
    for shard in copy.shards():
        fit(copy, *shard.hash_range)
    assert [shard.id for shard in copy.shards()] == before
    fit(copy, 7, HASH_KEY_END - 8)
    ranges = sorted(tuple(shard.hash_range) for shard in copy.shards() if not shard.is_closed)
    assert ranges == [(0, 6), (7, HASH_KEY_END - 8), (HASH_KEY_END - 7, HASH_KEY_END - 1)]


def test_a_source_without_shards_has_none_to_mirror(copy, tmp_path):
    """Files and pipes: said at once."""
    (tmp_path / "x.log").write_bytes(b"one\n")
    with pytest.raises(InvalidArgumentError, match="no shards"):
        Capture(copy, str(tmp_path / "x.log"), mirror_shards=True)


def test_the_verb_mirrors(tmp_path):
    """With --mirror-shards; for files it is refused."""
    with streamstore.open(tmp_path / "data", durability="process") as store:
        stream = store.create_stream("s")
        reshard_and_put(stream, 1, 6)
        address = f"store:{tmp_path}/data#s"
        succeed("capture", tmp_path / "copy", "c", address, "--create", "--once", "--mirror-shards")
        with streamstore.open(tmp_path / "copy", create=False) as other:
            assert is_mirrored(other.stream("c"), stream)
    (tmp_path / "x.log").write_bytes(b"one\n")
    assert run("capture", tmp_path / "copy", "x", tmp_path / "x.log", "--create", "--once", "--mirror-shards").code == 2
