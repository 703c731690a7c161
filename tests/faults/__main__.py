"""`python -m faults [--stride N]`: fails call 1, 2, 3 ... of every kind that the core makes, in every scenario.

Each way of failing goes on until a scenario makes fewer calls than that. After each the store must be as promised, also
when the power is cut on top. Builds its library, and starts itself again below it.
"""

from __future__ import annotations

import argparse
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
from cuts import seam
from cuts.images import under
from cuts.story import Wrong
from progress import Progress

from faults.scenario import SCENARIOS, faults
from faults.trial import template, try_it


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m faults")
    parser.add_argument("--stride", type=int, default=1, help="of the calls, only every so manieth")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--only", nargs="*", default=[], help="scenarios")
    parser.add_argument("--going-on", action="store_true", help="tell of all that is wrong, not only the first")
    parser.add_argument("--build", type=Path, default=seam.ROOT / "build" / "seam", help="where the library is put")
    parser.add_argument("--base", type=Path, default=Path("/dev/shm"), help="a directory of a file system in memory")
    parser.add_argument("--figures", type=Path, default=figures.PROOF, help="where faults.json is put")
    return parser.parse_args()


class Run:
    """All trials, one after another."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.chance = options, random.Random(options.seed)
        self.base = Path(tempfile.mkdtemp(prefix="streamstore-faults-", dir=options.base))
        self.trials = self.failed = self.records = self.cuts = 0
        self.wrong: list[str] = []
        self.progress = Progress()

    def scenario(self, name: str, durability: str, backend: str) -> None:
        """One scenario with every fault at every call."""
        under(backend, 0)
        origin = self.base / "template"
        before, made = template(origin, durability)
        for fault in faults():
            first = 1 if self.options.stride == 1 else self.chance.randint(1, self.options.stride)
            while True:
                path = self.base / "store"
                shutil.copytree(origin, path)
                self.tell(f"{name}, {durability}, {backend}: {fault}, call {first}")
                try:
                    failed, records, cuts = try_it(path, before, made, SCENARIOS[name], fault, first, self.chance)
                except Wrong as error:
                    self.wrong.append(f"{name}, {durability}, {backend}: {error}")
                    self.progress.end(self.wrong[-1])
                    if not self.options.going_on:
                        raise
                    failed, records, cuts = 1, 0, 0
                finally:
                    shutil.rmtree(path)
                self.trials, self.failed = self.trials + 1, self.failed + failed
                self.records, self.cuts = self.records + records, self.cuts + cuts
                if not failed:
                    break
                first += self.options.stride
        shutil.rmtree(origin)

    def tell(self, what: str) -> None:
        """Which trial it is; the last line stands when the process dies in it."""
        (self.base / "now").write_text(what)
        self.progress.tell(f"{self.trials:,} trials, {what}")

    def all(self) -> None:
        """Every scenario over both ways to write and two durabilities."""
        for name in self.options.only or SCENARIOS:
            for durability in ("sync", "process"):
                for backend in ("mmap", "pwrite"):
                    self.scenario(name, durability, backend)


def main() -> int:
    """Start anew below the library, or try it all; also at Ctrl-C the figures are left."""
    options = arguments()
    if seam.LIBRARY is None:
        library = seam.build(options.build)
        command, environment = seam.preloaded("faults", [*sys.argv[1:], "--seed", str(options.seed)], library)
        os.execve(command[0], command, environment)
    logging.getLogger("streamstore").setLevel(logging.CRITICAL)
    begun, run = time.monotonic(), Run(options)
    try:
        run.all()
    except Wrong:
        pass
    except KeyboardInterrupt:
        run.progress.end("ended before its time")
    finally:
        shutil.rmtree(run.base)
    seconds = time.monotonic() - begun
    note = f"{run.cuts:,} power cuts on top"
    figures.Figures(
        "faults", str(options.seed), run.trials, run.failed, run.records, len(run.wrong), 0, 0, seconds, note
    ).write(options.base, options.figures)
    run.progress.end()
    print("\n".join(run.wrong))
    print(f"{run.trials:,} trials, {run.failed:,} calls failed, {note}, {run.records:,} records, {seconds:.0f} s, "
          f"{len(run.wrong)} wrong")  # fmt: skip
    return len(run.wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
