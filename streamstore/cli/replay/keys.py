"""Keys that steer a replay, where both stdin and stderr are a terminal; nothing elsewhere."""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import threading
from types import TracebackType
from typing import Any

from streamstore import clock, errors
from streamstore.replay import Replay

# How far the arrow keys go, in seconds of the replay.
STEP = 10.0
POLL = 0.1


class Keyboard:
    """Reads single keys in a thread of its own, and gives the terminal back as it was."""

    def __init__(self, playing: Replay) -> None:
        self._playing = playing
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._kept: Any = None

    def __enter__(self) -> Keyboard:
        try:
            terminal = sys.stdin.isatty() and sys.stderr.isatty()
            descriptor = sys.stdin.fileno() if terminal else -1
        except (OSError, ValueError):  # stdin is closed, or no file
            return self
        if terminal:
            import termios
            import tty

            self._kept = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)
            self._thread = threading.Thread(target=self._watch, args=(descriptor,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            import termios

            self._thread.join()
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._kept)

    def _watch(self, descriptor: int) -> None:
        while not self._stop.is_set():
            if select.select([descriptor], [], [], POLL)[0]:
                pressed(self._playing, os.read(descriptor, 16))


def pressed(playing: Replay, key: bytes) -> None:
    """Do what a key is for: space, + and -, the arrows, q. Others do nothing."""
    if key == b" ":
        (playing.resume if playing.is_paused else playing.pause)()
    elif key in (b"+", b"-") and not math.isinf(playing.speed):
        playing.set_speed(playing.speed * (2.0 if key == b"+" else 0.5))
    elif key in (b"\x1b[C", b"\x1b[D"):
        _step(playing, STEP if key == b"\x1b[C" else -STEP)
    elif key == b"q":
        playing.close()


def _step(playing: Replay, seconds: float) -> None:
    now = playing.now_us
    if math.isinf(now) or math.isinf(playing.speed) or now < 1e12:  # flat out, or at a rate: there is no such time
        return
    with contextlib.suppress(errors.StreamStoreError):  # before 1970, or closed in the meantime
        playing.seek(clock.to_datetime(max(0, int(now + seconds * playing.speed * 1_000_000))))
