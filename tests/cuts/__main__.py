"""`python -m cuts [--images N] [--seed S]`: cuts the power of a traced store in as many places and ways as asked for.

Half of the images are of short stories, in each of which every moment is cut: all that a cut there could leave where
few sectors, lengths and names are open, some of it elsewhere. The others are of long random stories and of threads that
commit together, and of cuts within the recovery from a cut. Builds its library, and starts itself again below it.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import figures
from progress import Progress

from cuts import seam
from cuts.images import Counts, Explorer, Failed, under
from cuts.stories import long, short, together, work

UNITS_MAX, OTHERS = 6, 12
FROZEN_US = 1_800_000_000_000_000


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m cuts")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--only", default="", help="of the short stories those that have this word, and no long ones")
    parser.add_argument("--build", type=Path, default=seam.ROOT / "build" / "seam", help="where the library is put")
    parser.add_argument("--base", type=Path, default=Path("/dev/shm"), help="a directory of a file system in memory")
    parser.add_argument("--figures", type=Path, default=figures.PROOF, help="where cuts.json is put")
    return parser.parse_args()


def short_ones(explorer: Explorer, images: int, only: str) -> int:
    """The short stories in a random order, each wholly, until there are enough images; returns how many were told."""
    plan = [
        (backend, durability, name)
        for backend in ("mmap", "pwrite")
        for durability in ("sync", "interval", "process")
        for name in short(durability)
        if not only or only in name.split()
    ]
    explorer.chance.shuffle(plan)
    for told, (backend, durability, name) in enumerate(plan):
        if explorer.counts.images >= images:
            return told
        under(backend, explorer.chance.choice((0, FROZEN_US)))
        trace, events = explorer.play(name, short(durability)[name])
        moments = list(range(1, trace.moments + 1))
        explorer.chance.shuffle(moments)  # so that a bound on images cuts no story's end off
        for moment in moments:
            if explorer.counts.images >= images:
                break
            for cut in explorer.cuts_at(trace, moment, UNITS_MAX, OTHERS):
                explorer.look(trace, events, cut, deeper=int(explorer.chance.random() < 0.02))
        trace.free()
    return len(plan)


def long_ones(explorer: Explorer, images: int) -> None:
    """Random stories until there are enough images."""
    while explorer.counts.images < images:
        chance = explorer.chance
        under(chance.choice(("mmap", "pwrite")), chance.choice((0, FROZEN_US)))
        threads, count = chance.randint(2, 4), chance.randint(5, 60)
        (told,) = chance.choices(
            (functools.partial(together, threads=threads, count=1 + count // 8), *(
                functools.partial(each, count=count) for each in (work, long))),
            (2, 2, 6),
        )  # fmt: skip
        trace, events = explorer.play("long", told)
        for _ in range(min(300, images - explorer.counts.images)):
            explorer.look(trace, events, explorer.any_cut(trace), deeper=2 if chance.random() < 0.15 else 0)
        trace.free()


def explore(options: argparse.Namespace) -> int:
    """Look at so many images, and leave the figures; also at Ctrl-C."""
    begun, shown = time.monotonic(), Progress()
    base = Path(tempfile.mkdtemp(prefix="streamstore-cuts-", dir=options.base))

    def progress(counts: Counts) -> None:
        shown.tell(f"{counts.images:,} of {options.images:,} images, seed {options.seed}")

    explorer = Explorer(base, options.build / f"failed-{options.seed}", options.seed, progress)
    failed, stories = 0, 0
    try:
        stories = short_ones(explorer, options.images if options.only else options.images // 2, options.only)
        if not options.only:
            long_ones(explorer, options.images)
    except Failed as failure:
        failed = 1
        shown.end(f"{failure}\nAgain: make cuts SEED={options.seed} (threads may make it another run)")
    except KeyboardInterrupt:
        shown.end("ended before its time")
    finally:
        shutil.rmtree(base)
    counts, seconds = explorer.counts, time.monotonic() - begun
    note = f"{counts.traces} stories, {stories} of them short; {counts.deep} cuts within a recovery"
    figures.Figures(
        "cuts", str(options.seed), counts.images, counts.images, counts.records, failed, 0, 0, seconds, note
    ).write(options.base, options.figures)
    shown.end()
    print(f"{counts.images:,} images of {note}, {counts.records:,} records, {seconds:.0f} s, {failed} wrong")
    return failed


def main() -> int:
    """Start anew below the library, or explore."""
    options = arguments()
    if seam.LIBRARY is None:
        library = seam.build(options.build)
        command, environment = seam.preloaded("cuts", [*sys.argv[1:], "--seed", str(options.seed)], library)
        os.execve(command[0], command, environment)
    logging.getLogger("streamstore").setLevel(logging.CRITICAL)
    random.seed(options.seed)
    return explore(options)


if __name__ == "__main__":
    sys.exit(main())
