"""`python tests/fuzz [target ...] --seconds N`: every fuzz target for so long, under AddressSanitizer and UBSan.

With clang it is libFuzzer that runs; without it a driver of our own replays the corpus and changes it at random. A
corpus is a file of inputs in hexadecimal, a line each; `--keep` adds what a run of libFuzzer found, made small.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / "build" / "fuzz"
INPUT_MAX = 512
KEPT_MAX = 120
sys.path.insert(0, str(HERE.parent))

from figures import Figures  # noqa: E402

# What a target needs of the core, where that is not all of it.
SOURCES = {"blocks": ["aggregate.c", "aggregate_read.c", "lz4.c", "md5.c", "xxh3.c"]}
COMMON = ["-std=c11", "-g", "-O1", "-pthread", "-fno-sanitize-recover=all", "-w", "-Icsrc", "-Itests/c"]


class Target:
    """One fuzz_NAME.c, built."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clang = shutil.which("clang")
        self.program = SCRATCH / name
        self.corpus = SCRATCH / f"{name}-corpus"
        self.kept = HERE / "corpus" / f"{name}.hex"

    def build(self) -> None:
        """The program, and the corpus as files."""
        SCRATCH.mkdir(parents=True, exist_ok=True)
        core = [ROOT / "csrc" / name for name in SOURCES.get(self.name, ())] or sorted((ROOT / "csrc").glob("*.c"))
        sources = [*map(str, core), str(HERE / f"fuzz_{self.name}.c")]
        if self.clang:
            compiler = [self.clang, "-fsanitize=fuzzer,address,undefined"]
        else:
            compiler = [os.environ.get("CC", "gcc"), "-fsanitize=address,undefined", str(HERE / "replay.c")]
        subprocess.run([*compiler, *COMMON, *sources, "-o", str(self.program)], cwd=ROOT, check=True)
        shutil.rmtree(self.corpus, ignore_errors=True)
        self.corpus.mkdir()
        for number, line in enumerate(self.kept.read_text(encoding="ascii").split() if self.kept.exists() else ()):
            (self.corpus / f"kept-{number:04}").write_bytes(bytes.fromhex(line))

    def run(self, seconds: int, seed: int) -> tuple[int, bool, str]:
        """(inputs tried, whether all went well, what was said at the end)."""
        if self.clang:
            command = [f"-max_total_time={seconds}", f"-max_len={INPUT_MAX}", f"-seed={seed}", "-timeout=30"]
            command += ["-rss_limit_mb=3000", f"-artifact_prefix={SCRATCH}/{self.name}-", str(self.corpus)]
        else:
            command = [str(seconds), str(seed), *map(str, sorted(self.corpus.iterdir()))]
        done = subprocess.run(
            [str(self.program), *command], cwd=SCRATCH, capture_output=True, text=True, errors="replace"
        )
        said = done.stdout + done.stderr
        runs = re.findall(r"^(?:Done |#)(\d+)", said, re.MULTILINE)
        return int(runs[-1]) if runs else 0, done.returncode == 0, said[-3000:]

    def keep(self) -> None:
        """The smallest set of inputs that reaches what all of them reach becomes the corpus of the repository."""
        small = SCRATCH / f"{self.name}-small"
        shutil.rmtree(small, ignore_errors=True)
        small.mkdir()
        subprocess.run(
            [str(self.program), "-merge=1", str(small), str(self.corpus)], cwd=SCRATCH, check=True, capture_output=True
        )
        inputs = sorted((path.read_bytes() for path in small.iterdir()), key=lambda found: (len(found), found))
        self.kept.parent.mkdir(exist_ok=True)
        self.kept.write_text("".join(found.hex() + "\n" for found in inputs[:KEPT_MAX] if found), encoding="ascii")


def main() -> int:
    """Exit status 0 if no target found anything."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python tests/fuzz")
    parser.add_argument("targets", nargs="*", help="only these, such as frame")
    parser.add_argument("--seconds", type=int, default=15, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    names = options.targets or [path.stem.removeprefix("fuzz_") for path in sorted(HERE.glob("fuzz_*.c"))]
    begun, total, failed = time.monotonic(), 0, 0
    for name in names:
        target = Target(name)
        target.build()
        runs, well, said = target.run(options.seconds, options.seed)
        total, failed = total + runs, failed + (not well)
        print(f"{'well  ' if well else 'FAILED'}  {name:12}{runs:>12,} inputs", flush=True)
        if not well:
            print(said)
        elif options.keep and target.clang:
            target.keep()
    if not options.targets:
        by = "libFuzzer" if shutil.which("clang") else "random changes"
        note = f"{len(names)} targets by {by}, {failed} with findings"
        Figures("fuzz", str(options.seed), total, 0, 0, 0, 0, 0, time.monotonic() - begun, note).write("/dev/shm")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
