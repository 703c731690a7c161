"""Writers that die at any moment: nothing acknowledged is lost, nothing damaged, no number used twice, others go on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from running import ROOT, STRESS, run, seed

MODES = ("sync", "interval", "process")


@pytest.mark.parametrize("shards", [1, 16])
@pytest.mark.parametrize("durability", MODES)
@pytest.mark.parametrize("kills", [pytest.param(5, id="short"), pytest.param(84, id="long", marks=STRESS)])
def test_random_kills_of_writers_and_tailers(tmp_path: Path, kills: int, durability: str, shards: int) -> None:
    """Over all modes 500 kills (30 in the short run), one by one beside survivors and of everybody at once."""
    chosen = seed(kills < 10) + shards
    arguments = ("--seed", chosen, "--kills", kills, "--durability", durability, "--shards", shards)
    print(run("kill_writers.py", tmp_path / "store", *arguments, timeout=100 if kills < 10 else 1000))


@STRESS
def test_kills_at_exact_points_of_the_core(tmp_path: Path) -> None:
    """Every point of the core at which a process can die, ten times, in drawn modes, backends and PID namespaces."""
    name = "build/c/kill/kill_points"
    subprocess.run(["make", "-s", name], cwd=ROOT, check=True)
    program = [str(ROOT / name), str(seed(False)), "10"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=1200)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]


@STRESS
def test_a_million_opens_and_a_gigabyte_leave_nothing_behind(tmp_path: Path) -> None:
    """Private memory, descriptors and maps of a C program stay flat."""
    name = "build/c/plain/test_leaks"
    subprocess.run(["make", "-s", name], cwd=ROOT, check=True)
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "STREAMSTORE_LEAK_CYCLES": "1000000",
        "STREAMSTORE_LEAK_MIB": "1024",
    }
    done = subprocess.run([str(ROOT / name)], env=environment, capture_output=True, text=True, timeout=3000)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
