"""How far a run is: a bar with rate and time left on a terminal, and nothing elsewhere unless it was asked for."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Without a terminal, --progress prints a line this often, in seconds.
LINE_INTERVAL = 2.0


class RunProgress:
    """Shown on stderr. `size` is what there is to do in bytes, None where nobody knows."""

    def __init__(self, what: str, size: int | None, wanted: bool | None, unit: str = "records") -> None:
        terminal = sys.stderr.isatty()
        self._shown = terminal if wanted is None else wanted
        self._size = size
        self._unit = unit
        self._began = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if self._shown and terminal:
            columns = [
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                DownloadColumn(binary_units=True),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn() if size is None else TimeRemainingColumn(),
            ]
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5)
            self._task = self._bar.add_task(what, total=size, rate="")

    def resize(self, size: int) -> None:
        """Say how much there is to do, once that is known."""
        if size != self._size:
            self._size = size
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, total=size)

    def update(self, done_bytes: int, records: int) -> None:
        """Say how far it is."""
        if not self._shown:
            return
        now = time.monotonic()
        if self._bar is not None and self._task is not None:
            rate = records / max(now - self._began, 0.001)
            self._bar.update(self._task, completed=done_bytes, rate=f"{rate:,.0f} {self._unit}/s")
        elif now - self._said >= LINE_INTERVAL:
            self._said = now
            sys.stderr.write(self._line(done_bytes, records, now - self._began) + "\n")

    def _line(self, done_bytes: int, records: int, elapsed: float) -> str:
        line = f"{records:,} {self._unit}, {records / elapsed:,.0f}/s"
        if self._size and done_bytes:
            left = elapsed * max(self._size - done_bytes, 0) / done_bytes
            line += f", {100 * done_bytes / self._size:.0f} %, {left:.0f} s left"
        return line

    def __enter__(self) -> RunProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class CountProgress:
    """How many of how many things are done, on stderr; for work that counts no bytes."""

    def __init__(self, unit: str, wanted: bool | None) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = self._terminal if wanted is None else wanted
        self._unit = unit
        self._said = time.monotonic()

    def update(self, done: int, total: int) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if self._shown and now - self._said >= (0.2 if self._terminal else LINE_INTERVAL):
            self._said = now
            line = f"{done:,} of {total:,} {self._unit}"
            sys.stderr.write(f"\r{line}\033[K" if self._terminal else f"{line}\n")
            sys.stderr.flush()

    def __enter__(self) -> CountProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._terminal:
            sys.stderr.write("\r\033[K")
