"""streamstore.cli.streams and describe: create, delete, list, describe."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run, succeed


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store can be made."""
    return tmp_path / "store"


def test_create_makes_store_and_stream(place: Path) -> None:
    """What create was told is what describe says."""
    succeed(
        "create", place, "s", "--shards", 3, "--retention", 48, "--durability", "interval", "--max-record-size", "2MiB"
    )
    facts = succeed("describe", place, "s", "--json").json
    assert (facts["name"], facts["open_shards"], facts["retention_hours"]) == ("s", 3, 48)
    assert (facts["durability"], facts["max_record_size"], facts["records"]) == ("interval", 2 * 1024 * 1024, 0)
    starts = [int(shard["hash_range_start"]) for shard in facts["shards"]]
    ends = [int(shard["hash_range_end"]) for shard in facts["shards"]]
    assert starts == [0, ends[0] + 1, ends[1] + 1]
    assert ends[-1] == 2**128 - 1


def test_create_twice_needs_exist_ok(place: Path) -> None:
    """A second create fails with one line that says how not to; with --exist-ok it succeeds and changes nothing."""
    succeed("create", place, "s", "--shards", 3)
    refused = run("create", place, "s")
    assert refused.code == 1
    assert refused.err.count("\n") == 1
    assert "--exist-ok" in refused.err
    assert succeed("create", place, "s", "--exist-ok", "--json").json["open_shards"] == 3


@pytest.mark.parametrize(
    "options",
    [["--shards", "0"], ["--retention", "1"], ["--durability", "maybe"], ["--max-record-size", "2x"], ["--nonsense"]],
    ids=lambda options: options[0],
)
def test_wrong_options_are_wrong_usage(place: Path, options: list[str]) -> None:
    """Exit code 2, and no store was made."""
    assert run("create", place, "s", *options).code == 2
    assert not (place / "streams").exists()


def test_a_bad_name_is_wrong_usage(place: Path) -> None:
    """A name that no stream can have gives exit code 2 and the rule."""
    result = run("create", place, "no spaces")
    assert result.code == 2
    assert "characters" in result.err


def test_list_prints_a_name_a_line(place: Path) -> None:
    """Sorted names for pipes, a table with --long, everything with --json."""
    for name in ("b", "a"):
        succeed("create", place, name)
    succeed("put", place, "a", "x")
    assert succeed("list", place).text == "a\nb\n"
    table = succeed("list", place, "--long").text.splitlines()
    assert [line.split()[0] for line in table] == ["NAME", "a", "b"]
    assert [(each["name"], each["records"]) for each in succeed("list", place, "--json").json] == [("a", 1), ("b", 0)]


def test_delete_removes_for_good(place: Path) -> None:
    """After delete the stream is not found; another delete says so unless --missing-ok."""
    succeed("create", place, "s")
    assert succeed("delete", place, "s", "--yes", "--json").json == {"stream": "s", "deleted": True}
    assert succeed("list", place).text == ""
    assert run("delete", place, "s", "--yes").code == 3
    assert succeed("delete", place, "s", "--yes", "--missing-ok", "--json").json["deleted"] is False


def test_delete_asks_first(place: Path) -> None:
    """Without --yes nothing happens unless the question is answered with yes."""
    succeed("create", place, "s")
    assert run("delete", place, "s", stdin=b"n\n").code == 130
    assert run("delete", place, "s", stdin=b"").code == 130
    assert succeed("list", place).text == "s\n"
    succeed("delete", place, "s", stdin=b"y\n")
    assert succeed("list", place).text == ""


def test_describe_for_people(place: Path) -> None:
    """Facts, then a line a shard."""
    succeed("create", place, "s", "--shards", 2)
    text = succeed("describe", place, "s").text
    assert "durability       sync" in text
    assert "shardId-000000000001" in text
