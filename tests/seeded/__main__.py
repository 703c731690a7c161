"""`python -m seeded [name ...]`: put in each bug, run the suite that must find it, tell which found theirs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from figures import Figures

from seeded import of_durability, of_recovery
from seeded.building import CBuild, Outcome, PythonTree
from seeded.seed import ROOT, Seed

SEEDS = (*of_durability.SEEDS, *of_recovery.SEEDS)
SCRATCH = ROOT / "build" / "seeded"


class Suites:
    """Runs suites over changed sources; each is first seen to pass over unchanged ones."""

    def __init__(self, scratch: Path) -> None:
        self._c = CBuild(scratch)
        self._python = PythonTree(scratch)
        self._sound: dict[str, bool] = {}

    def close(self) -> None:
        """Let the next run in."""
        self._c.close()

    def run(self, suite: str, changed: dict[str, str]) -> Outcome:
        """What became of a suite, of C or of Python."""
        if suite.startswith("tests/"):
            return self._python.run(suite, changed)
        return self._c.run(suite, {Path(name).name: text for name, text in changed.items()})

    def sound(self, suite: str) -> bool:
        """Whether it passes with no bug in it: else its failure would prove nothing."""
        if suite not in self._sound:
            outcome = self.run(suite, {})
            self._sound[suite] = outcome.well
            if not outcome.well:
                print(f"{suite} fails without a bug:\n{outcome.said}", flush=True)
        return self._sound[suite]

    def catches(self, seed: Seed) -> bool:
        """Whether the seed's suite, which is sound, fails with the bug in it."""
        if not self.sound(seed.suite):
            return False
        text = (ROOT / seed.file).read_text(encoding="utf-8")
        return not self.run(seed.suite, {seed.file: seed.plant(text)}).well


def main() -> int:
    """Exit status 0 if all were caught."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m seeded")
    parser.add_argument("names", nargs="*", help="only these")
    chosen = parser.parse_args().names
    seeds = [seed for seed in SEEDS if not chosen or seed.name in chosen]
    suites, caught, tried, begun = Suites(SCRATCH), 0, 0, time.monotonic()
    try:
        for seed in seeds:
            found = suites.catches(seed)
            caught, tried = caught + found, tried + 1
            print(f"{'caught' if found else 'MISSED'}  {seed.name:32}{seed.suite:36}{seed.story}", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    print(f"{tried} seeded, {caught} caught")
    if not chosen:
        note = f"{tried} seeded, {caught} caught"
        Figures("seeded", "none", tried, tried, 0, 0, 0, 0, time.monotonic() - begun, note).write(SCRATCH)
    return 0 if caught == tried == len(seeds) else 1


if __name__ == "__main__":
    sys.exit(main())
