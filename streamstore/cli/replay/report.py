"""What a replay shows while it runs and says at its end: a line of status, the histogram of the timing error."""

from __future__ import annotations

import math
import sys
import threading
import time
from types import TracebackType
from typing import Any

from streamstore.cli.output import duration_text, iso_us, note, size_text
from streamstore.histogram import Histogram
from streamstore.replay import Plan, Replay

# What a bar of the histogram is as long as at most, in characters.
BAR_LENGTH = 30
BOUNDS_US = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000)
# Without a terminal, --progress prints a line this often, in seconds; with one it is renewed so often.
LINE_INTERVAL = 2.0
RENEW_INTERVAL = 0.2


class StatusLine:
    """How far a replay is, in one line of at most 80 characters on stderr, from a thread of its own."""

    def __init__(self, playing: Replay, wanted: bool | None) -> None:
        self._playing = playing
        self._terminal = sys.stderr.isatty()
        self._shown = self._terminal if wanted is None else wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def _show(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(RENEW_INTERVAL if self._terminal else LINE_INTERVAL):
            line = status_text(self._playing, time.monotonic() - began)
            sys.stderr.write(f"\r{line}\033[K" if self._terminal else f"{line}\n")
            sys.stderr.flush()

    def __enter__(self) -> StatusLine:
        if self._shown:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._shown:
            self._thread.join()
            sys.stderr.write("\r\033[K" if self._terminal else "")
            sys.stderr.flush()


def status_text(playing: Replay, elapsed: float) -> str:
    """Where a replay stands: recorded time, records, rate, speed, how late it is."""
    now = playing.now_us
    moment = iso_us(int(now))[:19] if not math.isinf(now) and now > 1e12 else "-"
    rate = playing.records / max(elapsed, 0.001)
    text = f"{moment}  {playing.records:,} records  {rate:,.0f}/s  {speed_text(playing.speed)}"
    if playing.timing.count:
        text += f"  late p99 {duration_text(playing.timing.percentile(99) / 1e6)}"
    return text[:79]


def speed_text(speed: float) -> str:
    """A speed as people write it."""
    return "max" if math.isinf(speed) else f"{speed:g}x"


def summary(playing: Replay, target: Any, elapsed: float) -> dict[str, Any]:
    """What was sent, as a document."""
    timing = playing.timing
    late = {f"p{share:g}": timing.percentile(share) / 1000 for share in (50, 90, 99, 99.9)}
    return {
        "records": playing.records,
        "bytes": playing.bytes,
        "elapsed_s": round(elapsed, 6),
        "rounds": playing.rounds,
        "target": target.name,
        "sent_again": target.retries,
        "timing_error_ms": {**late, "max": timing.highest / 1000} if timing.count else None,
        "position": playing.position,
    }


def report(playing: Replay, said: dict[str, Any]) -> None:
    """The summary for people, on stderr."""
    elapsed = said["elapsed_s"]
    rate = said["records"] / max(elapsed, 1e-6)
    again = f"; {said['sent_again']:,} were sent again" if said["sent_again"] else ""
    note(f"{said['records']:,} records ({size_text(said['bytes'])}) in {duration_text(elapsed)}, {rate:,.0f}/s{again}")
    if playing.timing.count:
        sys.stderr.write("\n".join(histogram_lines(playing.timing)) + "\n")


def histogram_lines(timing: Histogram) -> list[str]:
    """How late records were, in at most 80 columns."""
    shares = [f"p{share:g} {timing.percentile(share) / 1000:.3f}" for share in (50, 90, 99, 99.9)]
    lines = [f"timing error in ms: {', '.join(shares)}, max {timing.highest / 1000:.3f}"]
    steps = list(timing.steps((*BOUNDS_US, max(timing.highest, BOUNDS_US[-1]) + 1)))
    while steps and not steps[-1][1]:
        steps.pop()
    most = max((count for _, count in steps), default=1)
    for bound, count in steps:
        what = f"up to {bound / 1000:g} ms" if bound in BOUNDS_US else "more"
        bar = "#" * math.ceil(BAR_LENGTH * count / most)
        lines.append(f"{what:>14}  {count:>11,}  {100 * count / timing.count:5.1f} %  {bar}".rstrip())
    return lines


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan for programs."""
    found: dict[str, Any] = {
        "records": plan.records,
        "bytes": plan.bytes,
        "without_time": plan.untimed,
        "duration_s": plan.duration,
        "peak_rate": plan.peak_rate,
    }
    for name, us in (("first", plan.first_us), ("last", plan.last_us)):
        found[name] = None if us is None else iso_us(us)
    return found


def plan_text(plan: Plan, speed: float, rate: float | None) -> None:
    """A plan for people, on stdout."""
    sys.stdout.write(f"records   {plan.records:,} ({size_text(plan.bytes)})\n")
    if plan.first_us is not None and plan.last_us is not None:
        sys.stdout.write(f"from      {iso_us(plan.first_us)}\nto        {iso_us(plan.last_us)}\n")
    if plan.untimed:
        sys.stdout.write(f"untimed   {plan.untimed:,} records, each sent with the one before it\n")
    how = speed_text(speed) if rate is None else f"{rate:g} records/s"
    if math.isinf(speed):
        sys.stdout.write("takes     as long as the target does: flat out\n")
        return
    sys.stdout.write(f"takes     {duration_text(plan.duration)} at {how}\n")
    sys.stdout.write(f"peak      {plan.peak_rate:,} records in a second\n")
