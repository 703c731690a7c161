"""From a workload to the directories that cuts could leave of it, and from those, cut again, to more."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuts import seam
from cuts.judge import judge
from cuts.seam import Trace, Untraced
from cuts.story import Event, Wrong
from cuts.workload import Actor

MODES = ("lost", "kept", "cut", "files", "pages", "sectors", "sectors", "torn", "torn", "torn", "last", "last")
DEPTH_MAX = 3  # a cut, one in the recovery from it, and one in the recovery from that


@dataclass
class Cut:
    """One image: where in which trace, and what became of what was not durable."""

    moment: int
    mode: str
    seed: int
    control: str = "kept"  # or gone: a lost control file


class Failed(Exception):
    """What an image showed to be wrong; `evidence` is a directory with all that is needed to see it again."""

    def __init__(self, what: str, evidence: Path) -> None:
        super().__init__(f"{what}\nThe evidence: {evidence}")


@dataclass
class Counts:
    """What was looked at so far."""

    images: int = 0
    deep: int = 0  # of them cuts within a recovery
    records: int = 0
    traces: int = 0


class Explorer:
    """Makes workloads and images below a directory, and judges them."""

    def __init__(self, base: Path, evidence: Path, seed: int, progress: Callable[[Counts], None]) -> None:
        self.base, self.evidence, self.chance, self.progress = base, evidence, random.Random(seed), progress
        self.counts = Counts()
        self.made = 0

    def path(self) -> Path:
        self.made += 1
        return self.base / f"{self.made}"

    def play(self, name: str, work: Callable[[Actor], None]) -> tuple[Trace, list[Event]]:
        """Do the work on a new store under a trace."""
        path = self.path()
        path.mkdir()
        self._boot(0)
        trace = Trace(path)
        actor = Actor(path, trace, self.chance.randrange(1 << 30))
        actor.note("clock", us=seam.frozen_us())
        try:
            with trace:
                actor.open()
                work(actor)
                actor.close()
        finally:
            shutil.rmtree(path)
        self.counts.traces += 1
        return trace, actor.events

    def cuts_at(self, trace: Trace, moment: int, units_max: int, others: int) -> Iterator[Cut]:
        """All images of a moment where no more than so many units are open, else some."""
        units = trace.units(moment)
        if units <= units_max:
            for bits in range(1 << units):
                yield Cut(moment, "each", bits)
        else:
            for _ in range(others):
                yield Cut(moment, self.chance.choice(MODES), self.chance.randrange(1 << 63))

    def any_cut(self, trace: Trace) -> Cut:
        """One of all."""
        control = "gone" if self.chance.random() < 0.1 else "kept"
        moment = self.chance.randint(1, trace.moments)
        return Cut(moment, self.chance.choice(MODES), self.chance.randrange(1 << 63), control)

    def look(self, trace: Trace, events: list[Event], cut: Cut, deeper: int, depth: int = 1) -> None:
        """Judge one image, and so many more of cuts within its recovery."""
        path = self.path()
        self._make(trace, cut, path)
        self._boot(depth)
        before = [event for event in events if event.moment < cut.moment]
        inner = Trace(path) if deeper and depth < DEPTH_MAX else Untraced()
        actor = Actor(path, inner, cut.seed & 0xFFFF, 1_000_000 * depth)
        try:
            with inner:
                verify, again = self.chance.random() < 0.1, self.chance.random() < 0.2
                self.counts.records += judge(actor, before, verify=verify, again=again)
        except (Wrong, AssertionError) as error:
            raise Failed(
                f"{error}\n{cut}, depth {depth}", self._keep(trace, inner, [*before, None, *actor.events], cut)
            ) from error
        finally:
            shutil.rmtree(path)
        self.counts.images += 1
        self.counts.deep += depth > 1
        self.progress(self.counts)
        after = [*(Event(0, event.what, event.values) for event in before), *actor.events]
        if isinstance(inner, Trace):
            for _ in range(deeper):
                self.look(inner, after, self.any_cut(inner), deeper=int(self.chance.random() < 0.3), depth=depth + 1)
            inner.free()

    def _boot(self, number: int) -> None:
        """What a power cut ends is a boot of the machine, too."""
        identity = self.base / f"boot-{number}"
        identity.write_text(f"{number:032x}\n")
        seam.boot(identity)

    def _make(self, trace: Trace, cut: Cut, path: Path) -> None:
        trace.image(cut.moment, cut.mode, cut.seed, path)
        if cut.control == "gone" and (path / "control").exists():
            os.unlink(path / "control")

    def _keep(self, trace: Trace, inner: Trace | Untraced, events: list[Any], cut: Cut) -> Path:
        """Whatever somebody needs who wants to know why."""
        shutil.rmtree(self.evidence, ignore_errors=True)
        self.evidence.mkdir(parents=True)
        trace.print(self.evidence / "trace.txt")
        if isinstance(inner, Trace):
            inner.print(self.evidence / "recovery.txt")
        self._make(trace, cut, self.evidence / "image")
        lines = [
            "--- the cut ---" if event is None else f"{event.moment} {event.what} {event.values!r:.2000}"
            for event in events
        ]
        (self.evidence / "events.txt").write_text("\n".join(lines), encoding="utf-8")
        return self.evidence


def under(backend: str, frozen_us: int) -> None:
    """The circumstances of what comes now: stores through maps or by pwrite, and a wall clock that stands still."""
    seam.by_pwrite(backend == "pwrite")
    seam.freeze(frozen_us)
