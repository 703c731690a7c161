"""`python -m seeded.mutants [--count N]`: small changes of the core, each of which some suite should notice.

The files that decide what an acknowledgement is worth are changed, one place at a time. Each change is compiled once
and given to the C programs, what costs least first, until one fails. One whose machine code is the original's is no
change and another is drawn for it. What no suite notices must stand in tests/seeded/survivors.txt with its reason; the
costly suites are asked about that again only with --all.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from figures import Figures

from seeded.building import CBuild, NotBuilt
from seeded.mutant import Mutant, drawn, mutants
from seeded.seed import ROOT
from seeded.surviving import SURVIVORS, against, read

# What finds most of a file's mutants, what costs hardly anything, and what costs a second or more of a processor.
FIRST: dict[str, tuple[str, ...]] = {
    "csrc/record.c": ("plain/test_record", "plain/test_scan", "plain/test_log_damage"),
    "csrc/recovery.c": ("plain/test_recovery", "plain/test_recover", "plain/test_recover_past"),
    "csrc/log_recover.c": ("plain/test_recover", "plain/test_recovery", "plain/test_close"),
    "csrc/lock.c": ("plain/test_publish", "plain/test_lock", "kill/kill_takeover"),
    "csrc/log_append.c": ("plain/test_order", "plain/test_limits", "plain/test_boundaries"),
    "csrc/log_sync.c": ("plain/test_rounds", "plain/test_order", "plain/test_sync"),
}
CHEAP = (
    "plain/test_publish", "plain/test_record", "plain/test_recovery", "plain/test_segment", "plain/test_terms",
    "plain/test_limits", "plain/test_control", "plain/test_close", "plain/test_log_damage", "plain/test_scan",
    "plain/test_states", "plain/test_order", "plain/test_recover", "plain/test_recover_past", "plain/test_rounds",
    "plain/test_boundaries", "plain/test_index_hostile", "plain/test_threads", "plain/test_leaks",
    "plain/test_pack_hostile", "plain/test_edges", "plain/test_files_gone", "plain/test_forged", "plain/fault_full",
    "plain/fault_memory", "kill/kill_trim",
)  # fmt: skip
COSTLY = (
    "plain/test_lock", "plain/test_pack", "plain/test_log", "plain/test_frame_ends", "kill/kill_takeover",
    "kill/kill_pack", "plain/test_sync", "kill/kill_points", "plain/fault_calls", "plain/fault_damage",
)  # fmt: skip
MEMORY = Path("/dev/shm")


def build_in_memory(scratch: Path) -> CBuild:
    """Programs whose stores lie in memory where there is such a file system: most of their time is a disk's."""
    return CBuild(scratch, MEMORY if MEMORY.is_dir() else None)


def suites(file: str, costly: bool = True) -> list[str]:
    """Those that are asked about a file, in order."""
    return list(dict.fromkeys(FIRST[file] + CHEAP + (COSTLY if costly else ())))


def noticed(build: CBuild, mutant: Mutant, asked: list[str]) -> str:
    """The suite that fails with the change, "" where it survives; NotBuilt where it is no other program."""
    name = Path(mutant.file).name
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = {name: mutant.plant(text)}
    if build.same_code(name, changed[name]):
        raise NotBuilt("the code is the original's")
    for suite in asked:
        if not build.holds(suite, changed):
            return suite
    return ""


class Run:
    """What became of the mutants of one run. Costly suites are asked about a listed survivor only with `everything`."""

    def __init__(self, listed: Collection[Mutant], everything: bool) -> None:
        self._listed = frozenset() if everything else frozenset(listed)
        self.every: list[Mutant] = []
        self.noticed: list[Mutant] = []
        self.survived: list[Mutant] = []
        self.nonsense = 0

    def over(self, build: CBuild, file: str, count: int, seed: int) -> None:
        """Try `count` mutants of a file, not counting those that are no other program."""
        there = mutants(file, (ROOT / file).read_text(encoding="utf-8"))
        self.every += there
        left = count
        for mutant in drawn(there, seed):
            if not left:
                break
            begun = time.monotonic()
            try:
                by = noticed(build, mutant, suites(file, mutant not in self._listed))
            except NotBuilt:
                self.nonsense += 1
                continue
            left -= 1
            (self.noticed if by else self.survived).append(mutant)
            print(f"{time.monotonic() - begun:6.1f} s  {by or 'SURVIVED':28}{mutant}", flush=True)


def main() -> int:
    """Exit status 0 if every survivor is explained, and what is explained survives."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m seeded.mutants")
    parser.add_argument("--file", choices=list(FIRST), action="append")
    parser.add_argument("--count", type=int, default=20, help="of each file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="ask the costly suites about explained survivors too")
    options = parser.parse_args()
    explained = read(SURVIVORS.read_text(encoding="utf-8"))
    begun, files = time.monotonic(), options.file or list(FIRST)
    run = Run(explained.reasons, options.all)
    build = build_in_memory(ROOT / "build" / "mutants")
    ended = False
    try:
        for file in files:
            run.over(build, file, options.count, options.seed)
        ended = True
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        build.close()
    here = explained._replace(reasons={m: why for m, why in explained.reasons.items() if m.file in files})
    wrong = against(here, run.every, run.survived, run.noticed) if ended else []
    print("\n".join(wrong))
    tried = len(run.noticed) + len(run.survived)
    kinds = Counter(explained.kind(mutant) or "not explained" for mutant in run.survived)
    note = f"{len(run.noticed)} of {tried} changes noticed; survivors: " + (
        ", ".join(f"{count} {kind.lower()}" for kind, count in sorted(kinds.items())) or "none"
    )
    print(f"{note}; {run.nonsense} drawn that were no other program")
    took = time.monotonic() - begun
    if not options.file:
        Figures("mutants", str(options.seed), tried, tried, 0, 0, 0, 0, took, note).write(MEMORY)
    return 0 if ended and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
