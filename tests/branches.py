"""`python tests/branches.py`: how many branches of the core the C tests take, by file, and which lines have others.

Asserts are left out: they are for mistakes of ours that no test can make. Programs that die by SIGKILL leave no counts,
so what only they reach counts as not taken; so does what only the Python tests reach.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from figures import ROOT, Figures

SCRATCH = ROOT / "build" / "branches"
CC = os.environ.get("CC", "gcc")
FLAGS = ["-std=c11", "-g", "-O0", "-pthread", "--coverage", "-DNDEBUG", "-w", f"-I{ROOT}/csrc", f"-I{ROOT}/tests/c"]
SECONDS_MAX = 900


def build() -> list[Path]:
    """Every program of tests/c/test_*.c over counting objects."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    objects = []
    for source in sorted((ROOT / "csrc").glob("*.c")):
        objects.append(SCRATCH / f"{source.stem}.o")
        subprocess.run([CC, *FLAGS, "-c", str(source), "-o", str(objects[-1])], cwd=SCRATCH, check=True)
    programs = []
    for source in sorted((ROOT / "tests" / "c").glob("test_*.c")):
        programs.append(SCRATCH / source.stem)
        counted = subprocess.run(
            [CC, *FLAGS, str(source), *map(str, objects), "-o", str(programs[-1])], cwd=SCRATCH, check=False
        )
        if counted.returncode:
            programs.pop()
            print(f"not built: {source.name}")
    return programs


def counts(stem: str) -> dict[str, Any]:
    """What gcov says of one object, with the branches of its lines."""
    subprocess.run(["gcov", "-b", "-j", f"{stem}.gcda"], cwd=SCRATCH, capture_output=True, check=True)
    packed = SCRATCH / f"{stem}.gcov.json.gz"
    found: dict[str, Any] = json.loads(gzip.decompress(packed.read_bytes()))
    return found


def branches(stem: str) -> tuple[int, int, list[int]]:
    """(taken, all, lines with branches that are not taken) of csrc/STEM.c."""
    taken, total, lines = 0, 0, []
    for file in counts(stem)["files"]:
        if Path(file["file"]).name != f"{stem}.c":
            continue
        for line in file["lines"]:
            hit = sum(1 for branch in line["branches"] if branch["count"])
            taken, total = taken + hit, total + len(line["branches"])
            if hit < len(line["branches"]):
                lines.append(int(line["line_number"]))
    return taken, total, lines


def main() -> int:
    """Exit status 0 if at least `--least` percent are taken."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python tests/branches.py")
    parser.add_argument("--least", type=float, default=0.0, help="percent")
    parser.add_argument("--lines", action="store_true", help="tell the lines too")
    options = parser.parse_args()
    begun, failed = time.monotonic(), 0
    for program in build():
        done = subprocess.run([str(program)], cwd=SCRATCH, capture_output=True, timeout=SECONDS_MAX, check=False)
        failed += done.returncode != 0
        if done.returncode:
            print(f"FAILED  {program.name}", flush=True)
    all_taken = all_total = 0
    for data in sorted(SCRATCH.glob("*.gcda")):
        if not (ROOT / "csrc" / f"{data.stem}.c").exists():
            continue
        taken, total, lines = branches(data.stem)
        all_taken, all_total = all_taken + taken, all_total + total
        print(f"{data.stem:20}{taken:>6} of {total:>6}  {100 * taken / max(total, 1):6.1f} %")
        if options.lines and lines:
            print("    " + " ".join(map(str, lines)))
    percent = 100 * all_taken / max(all_total, 1)
    print(f"{all_taken} of {all_total} branches of the core: {percent:.1f} %")
    note = f"{percent:.1f} % of {all_total} branches of csrc, by the C tests"
    Figures("coverage", "none", all_total, 0, 0, 0, 0, 0, time.monotonic() - begun, note).write(SCRATCH)
    return 1 if failed or percent < options.least else 0


if __name__ == "__main__":
    sys.exit(main())
