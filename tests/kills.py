"""`python tests/kills.py --kills N`: processes killed at random moments and at named points, by all programs of kills.

Writers and tailers in all modes, held to a history (history.py); compaction, trimming, catalog snapshots, splits and
merges; queue workers; trimmers; and every named point of the core, partly in PID namespaces of their own.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import ROOT, Figures

STRESS = ROOT / "tests" / "stress"
SECONDS_MAX = 3600


class Kills:
    """Runs one program after another and adds up what they tell."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.seed = directory, seed
        self.kills = self.records = self.failed = self.cases = 0

    def run(self, kills: int, *command: str) -> None:
        """One program; its last line but one or last tells figures, its status whether all was well."""
        store = self.directory / f"store-{self.cases}"
        command = tuple(str(store) if each == "STORE" else each for each in command)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.directory)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", timeout=SECONDS_MAX
        )
        said = (done.stdout + done.stderr).strip()
        well = done.returncode == 0
        told = re.findall(r"([\d,]+) (?:acknowledged|records|messages)", said)
        self.kills += kills
        self.cases += 1
        self.records += int(told[-1].replace(",", "")) if told else 0
        self.failed += not well
        name = Path(command[1] if command[0] == sys.executable else command[0]).stem
        print(f"{'well  ' if well else 'FAILED'}  {name:16}{kills:>6} kills   {said.splitlines()[-1]}", flush=True)
        if not well:
            print(said[-3000:])
        shutil.rmtree(store, ignore_errors=True)

    def program(self, name: str, kills: int, *arguments: str) -> None:
        """One of the programs of tests/stress, from the seed of this run."""
        numbers = ("--kills", str(kills), "--seed", str(self.seed))
        self.run(kills, sys.executable, str(STRESS / f"{name}.py"), "STORE", *numbers, *arguments)

    def all(self, kills: int) -> None:
        """About so many kills over all programs."""
        for durability in ("sync", "interval", "process"):
            for shards in ("1", "16"):
                self.program("kill_writers", kills // 12, "--durability", durability, "--shards", shards)
        self.program("kill_life", kills // 8)
        self.program("kill_trimmers", kills // 16)
        self.program("kill_workers", kills // 16)
        points = "build/c/kill/kill_points"
        subprocess.run(["make", "-s", points], cwd=ROOT, check=True)
        source = (ROOT / "tests" / "c" / "kill_points.c").read_text(encoding="utf-8")
        table = source[source.index("SCENARIOS[] = {") : source.index("};", source.index("SCENARIOS[] = {"))]
        scenarios = len(re.findall(r'\{"', table))
        passes = max(1, -(-(kills // 4) // scenarios))
        self.run(passes * scenarios, str(ROOT / points), str(self.seed), str(passes))


def main() -> int:
    """Exit status 0 if no promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python tests/kills.py")
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ss-kills-") as name:
        kills = Kills(Path(name), options.seed)
        try:
            kills.all(options.kills)
        except KeyboardInterrupt:
            print("interrupted")
        note = f"{kills.failed} programs found something broken" if kills.failed else ""
        took = time.monotonic() - begun
        Figures("kills", str(options.seed), kills.cases, kills.kills, kills.records, 0, 0, 0, took, note).write(name)
    print(f"{kills.kills} kills, {kills.records} records held to it, {kills.failed} programs failed")
    return 1 if kills.failed else 0


if __name__ == "__main__":
    sys.exit(main())
