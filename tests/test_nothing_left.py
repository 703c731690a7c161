"""What cannot be made leaves nothing behind: wrong options and names are refused before a store is there for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import run

import streamstore
from streamstore.targets import open_target


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store could be made, in a directory that could be made for it."""
    return tmp_path / "new" / "store"


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "maybe"},
        {"sync_interval": 0.0009},
        {"sync_interval": 3600.1},
        {"sync_interval": float("nan")},
        {"account": "1"},
        {"region": "US"},
        {"key_ring": 5},
    ],
    ids=str,
)
def test_opening_with_wrong_options(tmp_path: Path, place: Path, options: dict[str, Any]) -> None:
    """Not even the directories above it."""
    with pytest.raises((ValueError, TypeError)):
        streamstore.open(place, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read_only", [False, True])
def test_a_path_with_a_nul_is_refused(tmp_path: Path, read_only: bool) -> None:
    """It once opened, and made, the store whose path stands before the NUL."""
    with pytest.raises(streamstore.InvalidArgumentError, match="NUL"):
        streamstore.open(f"{tmp_path}/store\0old", read_only=read_only)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a/b"},
        {"name": "n" * 129},
        {"visibility": -1},
        {"visibility": 43_201},
        {"codec": "pickle"},
        {"max_receive_count": 1001},
        {"dedup_window": 604_801},
        {"max_records": -1},
        {"on_full": "maybe"},
        {"shard_count": 65_537},
        {"max_record_size": (1 << 30) + 1},
        {"durability": "maybe"},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_a_queue_with_wrong_options(tmp_path: Path, place: Path, options: dict[str, Any]) -> None:
    """No store for a queue that cannot be."""
    with pytest.raises(streamstore.InvalidArgumentError):
        streamstore.Queue(place, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["store:{}#a/b", "store:{}#", "queue:{}#a/b"])
def test_a_target_with_a_wrong_name(tmp_path: Path, place: Path, address: str) -> None:
    """No store for it."""
    with pytest.raises(streamstore.InvalidArgumentError):
        open_target(address.format(place))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [{"limits": "some"}, {"durability": "maybe"}, {"endpoint_url": "http://here"}, {"nonsense": 1}],
    ids=str,
)
def test_a_client_in_process_with_wrong_options(tmp_path: Path, place: Path, options: dict[str, Any]) -> None:
    """Ours and those of boto3."""
    pytest.importorskip("boto3")
    with pytest.raises((ValueError, TypeError)):
        streamstore.boto3_client(place, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"port": 65_536},
        {"host": "0.0.0.0"},
        {"limits": "some"},
        {"credentials": "/absent"},
        {"certificate": "/absent", "key": "/absent"},
        {"certificate": "/absent"},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_a_server_with_wrong_options(tmp_path: Path, place: Path, options: dict[str, Any]) -> None:
    """In a thread of this process."""
    pytest.importorskip("granian")
    with pytest.raises((ValueError, TypeError)):
        streamstore.serve_in_thread(place, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "create {} a/b",
        "create {} s --shards 65537",
        "create {} s --retention 23",
        "create {} s --retention 8761",
        "create {} s --max-record-size 1025MiB",
        "create {} s --max-bytes 1023KiB",
        "ingest {} a/b - --create --source-id x",
        "ingest {} s - --create --source-id x --shards 65537",
        "capture {} a/b {}-no-such-file --create --once",
        "capture {} s {}-no-such-file --create --once --shards 65537",
        "import {} a/b - --create",
        "import {} s - --create --shards 65537",
        "queue put {} a/b body",
        "queue put {} q body --delay 43201",
        "queue work {} a/b --exit-when-empty -- true",
        "serve {} --credentials /absent",
        "serve {} --tls-cert /absent --tls-key /absent",
        "serve {} --tls-cert /absent",
    ],
)
def test_a_verb_with_wrong_options(tmp_path: Path, place: Path, words: str) -> None:
    """Exit code 2, and nothing was made."""
    if words.startswith("serve"):
        pytest.importorskip("granian")
    result = run(*(word.format(place) for word in words.split()))
    assert (result.code, result.out) == (2, b"")
    assert not list(tmp_path.iterdir())
