"""streamstore.cli.backup: snapshot and restore."""

from __future__ import annotations

from pathlib import Path

from command_line import run, succeed


def test_snapshot_and_restore(tmp_path: Path) -> None:
    """What was put comes back from a snapshot's restore; --json says what was made."""
    succeed("create", tmp_path / "data", "s", "--durability", "process")
    succeed("put", tmp_path / "data", "s", "hello", "--key", "k")
    made = succeed("snapshot", tmp_path / "data", tmp_path / "copy", "--json").json
    assert (made["records"], made["streams"], made["path"]) == (1, 1, str(tmp_path / "copy"))
    said = succeed("restore", tmp_path / "copy", tmp_path / "other")
    assert said.out == b""
    assert "1 records in 1 streams" in said.err
    assert succeed("read", tmp_path / "other", "s", "--raw").text == "hello\n"


def test_a_target_that_exists_is_wrong_usage(tmp_path: Path) -> None:
    """One line says so, and the exit code is that of wrong usage."""
    succeed("create", tmp_path / "data", "s")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine").touch()
    refused = run("snapshot", tmp_path / "data", tmp_path / "copy")
    assert refused.code == 2
    assert refused.err.count("\n") == 1


def test_what_is_no_store_is_not_found(tmp_path: Path) -> None:
    """The exit code is that of a missing store, and nothing is made."""
    assert run("snapshot", tmp_path / "nothing", tmp_path / "copy").code == 3
    assert run("restore", tmp_path / "nothing", tmp_path / "copy").code in (1, 3)
    assert list(tmp_path.iterdir()) == []
