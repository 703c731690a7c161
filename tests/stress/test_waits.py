"""Ctrl-C and close() end any wait at once, even behind a process that was stopped with a lock in its hand."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import output, program, run

# Every sleep looks around after half a second: what ends well below it was woken.
AT_ONCE_S = 0.2
TURNS = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a stream of one shard and one of many."""
    import streamstore

    with streamstore.open(tmp_path / "store", durability="process") as store:
        store.create_stream("one", segment_size=16 << 20)
        store.create_stream("many", 4)
    return tmp_path / "store"


def nearly_always(measure: Callable[[], float]) -> None:
    """All but one of a few turns end at once: one may meet a busy machine."""
    taken = sorted(measure() for _ in range(TURNS))
    print(taken)
    assert taken[-2] < AT_ONCE_S


def interrupt(path: Path, kind: str) -> float:
    """Seconds from SIGINT to KeyboardInterrupt."""
    process = program("wait_for.py", path, kind)
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.25)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    how, when = output(process, 20).splitlines()[-1].split()  # asyncio's debug mode may have told of a slow step before
    assert how == "KeyboardInterrupt"
    return float(when) - began


def close(path: Path, kind: str) -> float:
    """Seconds from close() in another thread to the end of the wait."""
    _, how, when, began = run("wait_for.py", path, kind, "--close", timeout=20).split()
    assert how == "ClosedError"
    return float(when) - float(began)


@pytest.mark.parametrize("kind", ["one-shard", "many-shards", "merge", "timeout", "aio"])
def test_ctrl_c_ends_a_follower(path: Path, kind: str) -> None:
    """KeyboardInterrupt at once, whatever it waits on."""
    nearly_always(lambda: interrupt(path, kind))


@pytest.mark.parametrize("kind", ["one-shard", "many-shards", "merge", "timeout"])
def test_close_from_another_thread_ends_a_follower(path: Path, kind: str) -> None:
    """ClosedError at once, whatever it waits on."""
    nearly_always(lambda: close(path, kind))


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


@pytest.mark.parametrize("end", [interrupt, close], ids=["ctrl-c", "close"])
def test_a_put_behind_a_stopped_process_can_be_ended(path: Path, end: Callable[[Path, str], float]) -> None:
    """It waits, for the holder lives; and ends at once when it is told to."""
    holder = stopped_with_the_lock(path)
    try:
        nearly_always(lambda: end(path, "put"))
    finally:
        holder.kill()
        holder.communicate()
