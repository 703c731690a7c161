"""streamstore.cli.reshard, and the lineage as describe shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run, succeed


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a stream of one shard and a record."""
    succeed("create", tmp_path / "store", "s")
    succeed("put", tmp_path / "store", "s", "hello", "--key", "k")
    return tmp_path / "store"


def test_count_split_and_merge(place: Path) -> None:
    """Each says which shards are open then, by id or by number; describe shows who came from whom."""
    made = succeed("reshard", place, "s", "--count", 3, "--json").json
    assert [shard["shard_id"][-2:] for shard in made["open_shards"]] == ["01", "03", "04"]
    made = succeed("reshard", place, "s", "--split", 1, "--at", 7, "--json").json
    assert [shard["hash_range_start"] for shard in made["open_shards"]][:2] == ["0", "7"]
    merged = succeed("reshard", place, "s", "--merge", "shardId-000000000005", 6)
    assert "shardId-000000000007" in merged.text
    shards = succeed("describe", place, "s", "--json").json["shards"]
    assert [shard["closed"] for shard in shards] == [True, True, True, False, False, True, True, False]
    assert shards[7]["parents"] == ["shardId-000000000005", "shardId-000000000006"]
    assert shards[5]["children"] == shards[6]["children"] == ["shardId-000000000007"]
    assert succeed("read", place, "s", "--raw").text.strip() == "hello"


@pytest.mark.parametrize(
    "options", [[], ["--count", 2, "--split", 0], ["--at", 5, "--count", 2], ["--count", 0]], ids=lambda o: str(o)
)
def test_wrong_usage(place: Path, options: list[object]) -> None:
    """One of the three, and --at with --split alone."""
    assert run("reshard", place, "s", *options).code == 2


def test_what_cannot_be_is_said_in_a_line(place: Path) -> None:
    """A shard that is not there, and one that is closed."""
    assert "no shard" in run("reshard", place, "s", "--split", 4).err
    succeed("reshard", place, "s", "--count", 2)
    refused = run("reshard", place, "s", "--split", 0)
    assert (refused.code != 0, refused.err.count("\n"), "closed" in refused.err) == (True, 1, True)
