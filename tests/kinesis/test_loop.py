"""The server's event loop and its deadlines."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from streamstore.server import loop
from streamstore.server.deadlines import Deadlines


def test_no_wake_is_lost():
    """Four threads hand over callbacks one by one, each waiting until the loop has made the one before; no timer wakes
    it meanwhile.
    """
    made = []

    def hand_over(running, place):
        for number in range(500):
            done = threading.Event()
            running.call_soon_threadsafe(lambda done=done, item=(place, number): (made.append(item), done.set()))
            if not done.wait(5):
                return

    async def main():
        running = asyncio.get_running_loop()
        await asyncio.gather(*(asyncio.to_thread(hand_over, running, place) for place in range(4)))

    loop.run(asyncio.wait_for(main(), 30))
    assert sorted(made) == [(place, number) for place in range(4) for number in range(500)]


def test_signals_come_through_the_same_pipe():
    """Between wakes of threads."""
    came = []

    async def main():
        running = asyncio.get_running_loop()
        running.add_signal_handler(signal.SIGUSR1, came.append, "signal")
        for _ in range(10):
            running.call_soon_threadsafe(came.append, "wake")
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.sleep(0.01)

    loop.run(main())
    assert (came.count("signal"), came.count("wake")) == (10, 10)


def test_what_is_left_is_cancelled_at_the_end():
    """As asyncio.run does."""
    ended = []

    async def linger():
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(True)

    async def main():
        main.task = asyncio.ensure_future(linger())
        await asyncio.sleep(0)

    loop.run(main())
    assert ended == [True]


def test_a_deadline_ends_what_is_late_and_nothing_else():
    """The late one sees a TimeoutError and goes on; a cancellation of its own passes through."""

    async def late(deadlines, seconds):
        try:
            await deadlines.hold(asyncio.sleep(seconds))
        except asyncio.TimeoutError:
            await asyncio.sleep(0)
            return "late"
        return "in time"

    async def main():
        deadlines = Deadlines(0.1)
        cancelled = asyncio.ensure_future(late(deadlines, 1000))
        others = [asyncio.ensure_future(late(deadlines, seconds)) for seconds in (1000, 0.001)]
        await asyncio.sleep(0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await asyncio.gather(*others) == ["late", "in time"]
        assert await late(deadlines, 1000) == "late"

    loop.run(asyncio.wait_for(main(), 30))
