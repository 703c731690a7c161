"""`python -m branches`: how many branches of csrc are taken by all that is run over it, by file, and which are not.

Asserts are left out: they are for mistakes of ours that no test can make. A process that dies by SIGKILL leaves no
counts, unless it died at a kill point. What is not taken must stand in tests/branches/untaken.txt with its reason.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict

from figures import Figures

from branches.building import TREE, build
from branches.counting import Branch, Line, counted, named
from branches.explaining import UNTAKEN, against, read
from branches.runs import RUNS, run


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m branches")
    parser.add_argument("--least", type=float, default=95.0, help="percent of all branches that must be taken")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS), help="runs")
    parser.add_argument("--more", action="store_true", help="add to what was counted, over the build that stands there")
    parser.add_argument("--lines", action="store_true", help="tell each branch that is not taken, with its line")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def table(found: list[tuple[Line, Branch, int]], lines: bool) -> tuple[int, int]:
    """Print (taken, all) of each file, of the core, of the extension and of both; returns those of both."""
    files: defaultdict[str, list[tuple[Line, Branch, int]]] = defaultdict(list)
    for each in found:
        files[each[0].file].append(each)
    sums = {"csrc": [0, 0], "csrc/python": [0, 0]}
    for name, ways in sorted(files.items()):
        taken = sum(count > 0 for _, _, count in ways)
        part = sums["csrc/python" if name.startswith("csrc/python/") else "csrc"]
        part[0], part[1] = part[0] + taken, part[1] + len(ways)
        say(f"{name:34}{taken:>6} of {len(ways):>6}  {100 * taken / len(ways):6.1f} %")
        for line, branch, count in ways if lines else ():
            if not count:
                say(f"    {line.number:4}  {branch}")
    for name, (taken, total) in sums.items():
        say(f"{name + ' alone':34}{taken:>6} of {total:>6}  {100 * taken / max(total, 1):6.1f} %")
    return sum(part[0] for part in sums.values()), sum(part[1] for part in sums.values())


def main() -> int:
    """Exit status 0 if at least `--least` percent are taken, nothing failed and the rest is explained."""
    options = arguments()
    begun = time.monotonic()
    if not options.more:
        build()
    failed = run(options.only, say)
    found = list(named(counted()))
    taken, total = table(found, options.lines)
    percent = 100 * taken / max(total, 1)
    wrong = against(
        read(UNTAKEN.read_text(encoding="utf-8")),
        [branch for _, branch, count in found if count],
        [branch for _, branch, count in found if not count],
    )
    say("\n".join(wrong))
    say(f"{taken} of {total} branches of csrc: {percent:.1f} %")
    say(f"{len(wrong)} not as untaken.txt says, {failed} runs failed")
    note = f"{percent:.1f} % of {total} branches of csrc, {total - taken} explained, by {', '.join(options.only)}"
    Figures("coverage", "1", total, 0, 0, 0, 0, 0, time.monotonic() - begun, note).write(TREE)
    return int(failed > 0 or percent < options.least or len(wrong) > 0)


if __name__ == "__main__":
    sys.exit(main())
