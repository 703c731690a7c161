"""A disk that fills: StoreFullError, nothing acknowledged lost, writing goes on after, and never a SIGBUS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from running import MOUNTS_ALONE, STRESS, run, seed, skip_without

KINDS = ("tmpfs", "ext4", "ext2", "overlay", "xfs", "btrfs")
SIZES_MIB = {"xfs": 320, "btrfs": 128}  # the least these make


@pytest.mark.root
@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cycles", [pytest.param(1, id="short"), pytest.param(8, id="long", marks=STRESS)])
def test_a_disk_that_fills(tmp_path: Path, cycles: int, kind: str, durability: str) -> None:
    """Filled over and over by the same handles; each time all is there, and with space they write on."""
    skip_without(MOUNTS_ALONE)
    if kind not in ("tmpfs", "overlay") and not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"mkfs.{kind} is not installed")
    size = SIZES_MIB.get(kind, 16 + 3 * cycles)
    options = ("--kind", kind, "--mib", size, "--cycles", cycles, "--durability", durability)
    print(run("fill_disk.py", tmp_path / "mount", *options, "--seed", seed(cycles == 1), before=MOUNTS_ALONE))


@pytest.mark.root
@pytest.mark.parametrize("durability", ["sync", "process"])
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_is_trimmed(tmp_path: Path, kind: str, durability: str) -> None:
    """Retention works without a free byte, through handles that are open and after a kill."""
    skip_without(MOUNTS_ALONE)
    options = ("--kind", kind, "--durability", durability)
    print(run("trim_full_disk.py", tmp_path / "mount", *options, before=MOUNTS_ALONE))


@pytest.mark.root
@pytest.mark.parametrize(
    ("kind", "durability", "size", "count"),
    [
        ("tmpfs", "process", 2_000, 1),
        pytest.param("ext4", "sync", 4_000, 40, marks=STRESS),
        pytest.param("tmpfs", "sync", 100, 20, marks=STRESS),
    ],
)
def test_a_queue_on_a_full_disk_is_worked_off(
    tmp_path: Path, kind: str, durability: str, size: int, count: int
) -> None:
    """Receives, acknowledgements and dead letters find their place without a free byte, and what is done goes."""
    skip_without(MOUNTS_ALONE)
    options = ("--kind", kind, "--durability", durability, "--size", size, "--count", count)
    print(run("drain_full_disk.py", tmp_path / "mount", *options, before=MOUNTS_ALONE))
