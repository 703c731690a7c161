"""`python tests/spin [model ...]`: check every model with spin, and that each of its broken variants is found out."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRATCH = HERE.parent.parent / "build" / "spin"
SECONDS_MAX = 900
sys.path.insert(0, str(HERE.parent))

from figures import Figures  # noqa: E402


def variants(model: Path) -> list[str]:
    """The names that the model's first comment lists behind `broken:`."""
    found = re.search(r"broken: ([A-Z_ ]+)", model.read_text(encoding="utf-8"))
    return found[1].split() if found else []


def check(model: Path, variant: str = "") -> tuple[int, int, str]:
    """(errors found, states looked at, what spin said); RuntimeError where the search did not go through all states."""
    directory = SCRATCH / f"{model.stem}-{variant or 'sound'}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    defines = [f"-D{variant}"] if variant else []
    generated = subprocess.run(["spin", *defines, "-a", str(model)], cwd=directory, capture_output=True, text=True)
    if generated.returncode or not (directory / "pan.c").exists():
        raise RuntimeError(generated.stdout + generated.stderr)
    compiler = ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048", "-o", "pan", "pan.c"]
    subprocess.run(compiler, cwd=directory, check=True)
    done = subprocess.run(
        ["./pan", "-m2000000", "-w22"], cwd=directory, capture_output=True, text=True, timeout=SECONDS_MAX
    )
    said = done.stdout + done.stderr
    errors = re.search(r"errors: (\d+)", said)
    states = re.search(r"^\s*([\d.e+]+) states, stored", said, re.MULTILINE)
    if errors is None or states is None or "max search depth too small" in said:
        raise RuntimeError(said)
    shutil.rmtree(directory, ignore_errors=True) if variant else None
    return int(errors[1]), int(float(states[1])), said


def main() -> int:
    """Exit status 0 if all sound models hold and all broken ones do not."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python tests/spin")
    parser.add_argument("models", nargs="*", help="only these, by name")
    chosen = parser.parse_args().models
    if not shutil.which("spin"):
        print("spin is not here (Debian: apt-get install spin)", file=sys.stderr)
        return 2
    begun, failed, broken, found, total = time.monotonic(), 0, 0, 0, 0
    for model in sorted(HERE.glob("*.pml")):
        if chosen and model.stem not in chosen:
            continue
        errors, states, said = check(model)
        total += states
        failed += errors > 0
        print(f"{'FAILED' if errors else 'holds '}  {model.stem:20}{states:>12,} states", flush=True)
        if errors:
            print(said)
        for variant in variants(model):
            errors, states, _ = check(model, variant)
            broken, found, total = broken + 1, found + (errors > 0), total + states
            print(f"{'found ' if errors else 'MISSED'}  {model.stem} {variant:28}", flush=True)
    print(f"{failed} models fail; {broken} broken variants, {found} found")
    if not chosen:
        note = f"states searched; {broken} broken variants, {found} found"
        Figures("spin", "none", total, broken, 0, 0, 0, 0, time.monotonic() - begun, note).write(HERE)
    return 1 if failed or found < broken else 0


if __name__ == "__main__":
    sys.exit(main())
