"""What one process may do: a thousand followers, forks among busy threads, opening and closing for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run


def test_a_thousand_followers_share_one_waiter_thread(tmp_path: Path) -> None:
    """Each sees every record once, and all of them cost one thread."""
    said = run("follow_many.py", tmp_path / "store")  # its loop's debug mode may have told of slow steps before
    before, during, followers = map(int, said.splitlines()[-1].split())
    assert followers == 1000
    assert during <= before + 1


@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
@pytest.mark.parametrize("forks", [pytest.param(15, id="short"), pytest.param(400, id="long", marks=STRESS)])
def test_forks_while_threads_put(tmp_path: Path, forks: int, durability: str) -> None:
    """Parent and children use the same objects, and everybody's records are there once."""
    print(run("fork_storm.py", tmp_path / "store", "--forks", forks, "--durability", durability))


@pytest.mark.parametrize(
    ("cycles", "mib"), [pytest.param(150, 48, id="short"), pytest.param(5000, 1024, id="long", marks=STRESS)]
)
def test_what_a_process_holds_stays_flat(tmp_path: Path, cycles: int, mib: int) -> None:
    """Private memory, descriptors, maps and threads, over opening, closing and reading."""
    (tmp_path / "stores").mkdir()
    print(run("hold_nothing.py", tmp_path / "stores", "--cycles", cycles, "--mib", mib, timeout=1000))
