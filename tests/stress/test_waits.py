"""Ctrl-C and close() end any wait at once, even behind a process that was stopped with a lock in its hand."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from compiling import shared_library
from running import output, program

# A sleep here lasts at least eight minutes if nobody ends it (tests/c/long_sleeps.c): what ends within one was woken.
WOKEN_WITHIN_S = 60


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which sleeps are long."""
    library = shared_library("long_sleeps.c", tmp_path_factory.mktemp("long_sleeps") / "long_sleeps.so")
    return {"LD_PRELOAD": " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a stream of one shard and one of many."""
    import streamstore

    with streamstore.open(tmp_path / "store", durability="process") as store:
        store.create_stream("one", segment_size=16 << 20)
        store.create_stream("many", 4)
    return tmp_path / "store"


def waiting(path: Path, kind: str, longer: dict[str, str], *options: str) -> subprocess.Popen[str]:
    """A program that waits, and is asleep by now."""
    process = program("wait_for.py", path, kind, *options, more=longer)
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    while "S" not in Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        time.sleep(0.01)
    time.sleep(0.25)
    return process


def interrupt(path: Path, kind: str, longer: dict[str, str]) -> str:
    """What ends a wait that is sent SIGINT."""
    process = waiting(path, kind, longer)
    process.send_signal(signal.SIGINT)
    return output(process, WOKEN_WITHIN_S).splitlines()[-1]  # asyncio's debug mode may have told of a slow step before


def close(path: Path, kind: str, longer: dict[str, str]) -> str:
    """What ends a wait whose store another thread closes."""
    process = waiting(path, kind, longer, "--close")
    return output(process, WOKEN_WITHIN_S).splitlines()[-1]


@pytest.mark.parametrize("kind", ["one-shard", "many-shards", "merge", "timeout", "aio"])
def test_ctrl_c_ends_a_follower(path: Path, longer: dict[str, str], kind: str) -> None:
    """KeyboardInterrupt at once, whatever it waits on."""
    assert interrupt(path, kind, longer) == "KeyboardInterrupt"


@pytest.mark.parametrize("kind", ["one-shard", "many-shards", "merge", "timeout"])
def test_close_from_another_thread_ends_a_follower(path: Path, longer: dict[str, str], kind: str) -> None:
    """ClosedError at once, whatever it waits on."""
    assert close(path, kind, longer) == "ClosedError"


def stopped_with_the_lock(path: Path) -> subprocess.Popen[str]:
    """A process stopped in the middle of an append: others must wait for it, for it is alive."""
    import streamstore

    holder = program("wait_for.py", path, "put-large")
    try:
        with streamstore.open(path) as store:
            for _ in range(500):
                time.sleep(0.02)
                os.kill(holder.pid, signal.SIGSTOP)
                time.sleep(0.01)
                if any(shard["lock_slot"] for shard in store.stats("one")["streams"][0]["shards"]):
                    return holder
                os.kill(holder.pid, signal.SIGCONT)
    except BaseException:
        holder.kill()
        raise
    holder.kill()
    return pytest.fail("never stopped it with the lock in its hand")


def test_ctrl_c_ends_a_put_behind_a_stopped_process(path: Path, longer: dict[str, str]) -> None:
    """It waits, for the holder lives; and ends at once when it is told to."""
    holder = stopped_with_the_lock(path)
    try:
        assert interrupt(path, "put", longer) == "KeyboardInterrupt"
    finally:
        holder.kill()
        holder.communicate()


def test_close_ends_a_put_behind_a_stopped_process(path: Path) -> None:
    """At the next look at whether the holder lives, a tenth of a second later."""
    holder = stopped_with_the_lock(path)
    try:
        assert close(path, "put", {}) == "ClosedError"
    finally:
        holder.kill()
        holder.communicate()
