"""One scenario with one fault: what it answers, what the store is like after it, and after a power cut on top."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cuts import seam
from cuts.judge import judge
from cuts.seam import Trace, Untraced
from cuts.story import Event, Wrong
from cuts.workload import Actor

import streamstore
from faults.scenario import Fault, recover

CLEAN = (streamstore.StreamStoreError, MemoryError)
CUTS = ("lost", "sectors", "torn")


def template(path: Path, durability: str) -> tuple[list[Event], int]:
    """A store with the stream "s", whose last process died; the events of its making, and records made."""
    origin = path.with_name("origin")
    origin.mkdir()
    actor = Actor(origin, Untraced(), 1)
    actor.open()
    actor.create("s", durability, 1)
    for _ in range(2):
        actor.some("s", 5)
        actor.seal("s")
    actor.some("s", 4)
    actor.flush()
    actor.some("s", 2)
    shutil.copytree(origin, path)
    actor.close()
    shutil.rmtree(origin)
    return actor.events[:-2], actor.made  # but for the close, which came after the death


def try_it(
    path: Path,
    before: list[Event],
    made: int,
    work: Callable[[Actor], None],
    fault: Fault,
    first: int,
    chance: random.Random,
) -> tuple[int, int, int]:
    """Returns how many calls were failed, records checked and cuts made; raises Wrong where a promise is broken."""
    files = len(os.listdir("/proc/self/fd"))
    before = [Event(0, event.what, event.values) for event in before]
    kind = {name: number for number, name in seam.call_kinds()}[fault.kind]
    with Trace(path) as trace:
        actor = Actor(path, trace, 7, made)
        actor.streams.append("s")
        if work is not recover:
            actor.open()
        seam.fail(kind, first, fault.error, lasting=fault.lasting, short_write=fault.short_write)
        noticed: BaseException | None = None
        try:
            work(actor)
        except CLEAN as error:
            noticed = error
        except BaseException as error:
            raise Wrong(f"{fault}, call {first}: not an error of ours: {error!r}") from error
        finally:
            failed = seam.heal()
        if noticed is not None and (failed == 0 or fault.harmless):
            raise Wrong(f"{fault}, call {first}: nobody should have noticed: {noticed!r}") from noticed
        with suppress(*CLEAN):
            if actor.is_open:
                actor.close()
        records, cuts = 0, 0
        after = Actor(path, trace, 8, actor.made + 1000)
        after.events = []
        try:
            records = judge(after, [*before, *actor.events], verify=True, again=True)
        except CLEAN as error:
            raise Wrong(f"{fault}, call {first}: no going on after it: {error!r}") from error
    left = len(os.listdir("/proc/self/fd"))
    if left > files:
        raise Wrong(f"{fault}, call {first}: {left - files} descriptors were left open")
    events = [*before, *actor.events, *after.events]
    for mode in CUTS if failed else ():
        moment = trace.moments if mode == "lost" else chance.randint(1, trace.moments)
        image = path.with_name(path.name + "-cut")
        trace.image(moment, mode, chance.randrange(1 << 63), image)
        later = Actor(image, Untraced(), 9, after.made + 1000)
        try:
            with _another_boot(path, chance):
                records += judge(later, [event for event in events if event.moment < moment])
        except Wrong as error:
            raise Wrong(f"{fault}, call {first}, then a power cut in moment {moment}, {mode}: {error}") from error
        finally:
            shutil.rmtree(image)
        cuts += 1
    trace.free()
    return failed, records, cuts


@contextmanager
def _another_boot(path: Path, chance: random.Random) -> Iterator[None]:
    """The machine was started anew: a power cut ends a boot."""
    boot = path.with_name("boot")
    boot.write_text(f"{chance.randrange(1 << 128):032x}\n")
    seam.boot(boot)
    try:
        yield
    finally:
        seam.boot(None)
