"""streamstore.cli.encryption: key files, start, stop, rotation, and the ring before the verb."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run, succeed

pytest.importorskip("cryptography", reason="the extra crypto is not installed")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a stream, and a key file beside it."""
    succeed("create", tmp_path / "store", "s")
    succeed("key", "create", tmp_path / "master.key")
    return tmp_path


def test_a_stream_is_encrypted_from_the_shell(place: Path) -> None:
    """Start, put, rotate, read, stop; what is shown has no key."""
    store, ring = place / "store", ("--key-ring", place / "master.key")
    assert "not encrypted" in succeed("encryption", store, "s").text
    facts = succeed(*ring, "encryption", store, "s", "--start", "--json").json
    assert (facts["enabled"], facts["key_id"]) == (True, 1)
    succeed(*ring, "put", store, "s", "a secret", "--key", "k")
    assert succeed(*ring, "encryption", store, "s", "--rotate", "--json").json["key_id"] == 2
    assert succeed(*ring, "read", store, "s", "--raw").out == b"a secret\n"
    assert succeed("describe", store, "s", "--json").json["encrypted"] is True
    shown = succeed("encryption", store, "s")
    assert "encrypted under data key 2" in shown.text
    master = (place / "master.key").read_text().split()[-1]
    assert master not in shown.text + shown.err
    assert succeed("encryption", store, "s", "--stop", "--json").json["enabled"] is False
    assert not [path for path in store.rglob("*.seg") if b"a secret" in path.read_bytes()]


def test_the_ring_may_come_from_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMSTORE_KEY_RING serves where --key-ring is not given."""
    monkeypatch.setenv("STREAMSTORE_KEY_RING", str(place / "master.key"))
    succeed("encryption", place / "store", "s", "--start")
    succeed("put", place / "store", "s", "a secret", "--key", "k")
    assert succeed("tail", place / "store", "s", "--raw").out == b"a secret\n"


def test_without_a_ring_a_line_says_what_is_missing(place: Path) -> None:
    """Exit code 1, and the stream and key are named."""
    succeed("--key-ring", place / "master.key", "encryption", place / "store", "s", "--start")
    for verb in (["put", place / "store", "s", "x", "--key", "k"], ["encryption", place / "store", "s", "--rotate"]):
        refused = run(*verb)
        assert refused.code == 1
        assert refused.err.count("\n") == 1
        assert "key ring" in refused.err


def test_a_new_master_key_takes_over(place: Path) -> None:
    """add, rewrap, and the older line may go."""
    store, path = place / "store", place / "master.key"
    succeed("--key-ring", path, "encryption", store, "s", "--start")
    succeed("--key-ring", path, "put", store, "s", "a secret", "--key", "k")
    succeed("key", "add", path)
    before = succeed("encryption", store, "s", "--json").json["keys"]
    after = succeed("--key-ring", path, "encryption", store, "s", "--rewrap", "--json").json["keys"]
    assert before[0]["master"] != after[0]["master"]
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    path.write_text(lines[0])
    assert succeed("--key-ring", path, "read", store, "s", "--raw").out == b"a secret\n"


def test_no_key_file_is_written_over(place: Path) -> None:
    """A second create fails and leaves the file; --master alone is wrong usage."""
    before = (place / "master.key").read_bytes()
    assert run("key", "create", place / "master.key").code != 0
    assert (place / "master.key").read_bytes() == before
    assert run("encryption", place / "store", "s", "--master", "x").code == 2


def test_inspect_says_which_key_instead_of_ciphertext(place: Path) -> None:
    """Text and JSON name the data key of each encrypted frame."""
    store, ring = place / "store", ("--key-ring", place / "master.key")
    succeed("put", store, "s", "plain", "--key", "k")
    succeed(*ring, "encryption", store, "s", "--start")
    succeed(*ring, "put", store, "s", "a secret", "--key", "k")
    text = succeed("inspect", store, "s", "shardId-000000000000").text
    assert "data 8 encrypted under data key 1" in text
    assert "plain" in text
    rows = succeed("inspect", store, "s", "shardId-000000000000", "--json").json_lines
    assert [row["data_key"] for row in rows if row["kind"] == "data"] == [0, 1]
