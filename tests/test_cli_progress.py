"""Lines of progress: a terminal of 80 columns has room for them, and none of them needs colour."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from streamstore.capture.source import Lag
from streamstore.cli.capture.command import status_text
from streamstore.cli.progress import CountProgress, RunProgress
from streamstore.cli.replay.report import status_text as replay_status
from streamstore.histogram import Histogram

MANY = 12_345_678_901
CONTROL = re.compile(r"\x1b\[\??[0-9;]*[A-Za-z]")


class Terminal(io.StringIO):
    """A stderr that is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """80 columns wide, without colour."""
    for name, value in (("COLUMNS", "80"), ("LINES", "24"), ("TERM", "xterm-256color"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    return Terminal()


@pytest.mark.parametrize("what", ["generate", "access-2015-05-17.log.1"])
@pytest.mark.parametrize("size", [None, 4 * MANY])
def test_a_bar_fits_80_columns(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, what: str, size: int | None
) -> None:
    """With its name, bytes, rate and time, however much there is."""
    monkeypatch.setattr(sys, "stderr", terminal)
    with RunProgress(what, size, None) as progress:
        progress.update(MANY, MANY)
        progress._began -= 10
        progress.update(MANY, MANY)
        assert progress._bar is not None
        progress._bar.refresh()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.getvalue()), "a colour"
    lines = re.split(r"[\r\n]+", CONTROL.sub("", terminal.getvalue()))
    assert max(map(len, lines)) <= 80
    assert any(what[:8] in line and "records/s" in line for line in lines), lines


def test_lines_of_a_log_fit_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is no terminal, and --progress was given."""
    monkeypatch.setattr(sys, "stderr", made := io.StringIO())
    for size in (None, 4 * MANY):
        progress = RunProgress("generate", size, True)
        progress._began = progress._said = progress._said - 100_000
        progress.update(MANY, MANY)
    counted = CountProgress("streams", True)
    counted._said -= 10
    counted.update(MANY, 2 * MANY)
    lines = made.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) < 80
    assert "25 %" in lines[1]


@pytest.mark.parametrize("lag", [Lag(10**15, "bytes", 99_999), Lag(86_400_000 * 365, "ms", 10_000)])
def test_the_line_of_a_capture_fits_whole(lag: Lag) -> None:
    """However much came, and however far it is behind: what it says last is there."""
    taking: Any = SimpleNamespace(lag=lambda: lag, records=MANY, bytes=MANY * 1000)
    line = status_text(taking, 10_000.0)
    assert len(line) < 80
    assert line.endswith(f"  {lag.open_units} open")
    assert " behind  " in line


def test_the_line_of_a_replay_fits_whole() -> None:
    """A long one, at high speed, that is late."""
    timing = Histogram()
    timing.add(59_123_456)
    playing: Any = SimpleNamespace(now_us=1.4e15, records=MANY // 100, speed=86_400.0, timing=timing)
    line = replay_status(playing, 100.0)
    assert len(line) < 80
    assert line.endswith("  late p99 59.1 s")
