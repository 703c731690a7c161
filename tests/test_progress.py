"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import sys

import progress
import pytest


class Terminal(io.StringIO):
    """A stderr that is one."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def told(monkeypatch, clock, stderr):
    """What is told of one step a second for 25 seconds, the steps' lines getting shorter."""
    monkeypatch.setattr(sys, "stderr", stderr)
    shown = progress.Progress()
    for second in range(26):
        clock[0] = 100.0 + second
        shown.tell(f"{second} {'.' * (25 - second)}")
        shown.tell("too soon")
    shown.end("done")
    shown.end()
    return stderr.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch, clock):
    """Every ten seconds, none of them renewed."""
    assert told(monkeypatch, clock, io.StringIO()) == "10 ...............\n20 .....\ndone\n"


def test_a_terminal_has_one_line_renewed(monkeypatch, clock):
    """Every second, over what stood there; what is said at the end is below it."""
    said = told(monkeypatch, clock, Terminal())
    assert said.count("\r") == 26
    assert said.endswith("\r25  \ndone\n")
    assert said.count("\n") == 2
