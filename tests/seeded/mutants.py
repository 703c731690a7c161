"""`python -m seeded.mutants [--count N]`: small random changes of the core, each of which some suite should notice.

The files that decide what an acknowledgement is worth are changed, one place at a time: a comparison, an operator, a
number, a condition that always or never holds, a statement that is left out. A change that no suite of its file notices
survives, and is told; it means the same as the original, or a test is missing.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections.abc import Iterator

from figures import Figures

from seeded.building import CBuild, NotBuilt
from seeded.seed import ROOT

SUITES = {
    "csrc/record.c": ["plain/test_record", "plain/test_scan", "plain/test_log", "plain/test_pack"],
    "csrc/recovery.c": [
        "plain/test_recover",
        "plain/test_recover_past",
        "plain/test_recovery",
        "plain/test_log_damage",
        "plain/test_pack",
    ],
    "csrc/log_recover.c": [
        "plain/test_recover",
        "plain/test_recovery",
        "plain/test_sync",
        "plain/test_close",
        "kill/kill_takeover",
    ],
    "csrc/lock.c": ["plain/test_lock", "sanitize/test_lock", "kill/kill_takeover", "plain/test_threads"],
    "csrc/log_append.c": [
        "plain/test_log",
        "plain/test_order",
        "plain/test_limits",
        "plain/test_boundaries",
        "plain/test_frame_ends",
        "kill/kill_takeover",
    ],
    "csrc/log_sync.c": ["plain/test_sync", "plain/test_order", "kill/kill_takeover", "plain/test_threads"],
}
SWAPS = {
    "<=": "<", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&", "<": "<=", ">": ">=", "+": "-", "-": "+",
}  # fmt: skip
OPERATOR = re.compile(r"(?<=[\w)\]] )(<=|>=|==|!=|&&|\|\||<|>|\+|-)(?= [\w(*&!-])")
NUMBER = re.compile(r"(?<![\w.\"%])(\d+)(?![\w.\"])")
CONDITION = re.compile(r"\bif \((.+)\)(?= \{$|$)")
STATEMENT = re.compile(r"^\s+(?!return|break|continue|goto|case|else|do\b|if\b|for\b|while\b)[\w>.\-\[\]()&*, +]+;$")


def changes(line: str) -> Iterator[str]:
    """All lines that differ from this one by one small change."""
    code = line.split("/*")[0]
    if not code.strip() or code.lstrip().startswith(("*", "#", "SS_KILLPOINT", "assert", "static", "enum")):
        return
    for match in OPERATOR.finditer(code):
        yield line[: match.start()] + SWAPS[match[1]] + line[match.end() :]
    for match in NUMBER.finditer(code):
        yield line[: match.start()] + str(int(match[1]) + 1) + line[match.end() :]
    if match := CONDITION.search(code):
        yield line[: match.start()] + "if (1)" + line[match.end() :]
        yield line[: match.start()] + "if (0)" + line[match.end() :]
    if STATEMENT.match(code.rstrip()) and ("(" in code or "=" in code):
        yield "    ;"


def mutants(file: str) -> list[tuple[int, str]]:
    """Every (line number, changed line) of a source, inside of its functions."""
    found, inside = [], False
    for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
        inside = line == "{" or (inside and line != "}")
        if inside:
            found += [(number, changed) for changed in changes(line)]
    return found


def noticed(build: CBuild, file: str, number: int, changed: str) -> str:
    """The suite that fails with the change, "the compiler", or "" where it survives."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    lines[number - 1] = changed
    text = {file.split("/")[-1]: "\n".join(lines) + "\n"}
    for suite in SUITES[file]:
        try:
            if not build.run(suite, text)[0]:
                return suite
        except NotBuilt:
            return "the compiler"
    return ""


def main() -> int:
    """Always exit status 0: what survives is for people to look at."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m seeded.mutants")
    parser.add_argument("--file", choices=list(SUITES), action="append")
    parser.add_argument("--count", type=int, default=20, help="of each file, drawn at random")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, build, begun = random.Random(options.seed), CBuild(ROOT / "build" / "mutants"), time.monotonic()
    tried = survived = 0
    try:
        for file in options.file or SUITES:
            every = mutants(file)
            for number, changed in sorted(chance.sample(every, min(options.count, len(every)))):
                by = noticed(build, file, number, changed)
                tried += by != "the compiler"
                survived += not by
                told = f"noticed by {by}" if by else "SURVIVED  " + changed.strip()
                print(f"{file}:{number:<5}{told}", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    print(f"{tried} changes, {tried - survived} noticed, {survived} survived")
    note = f"{tried - survived} of {tried} changes noticed"
    took = time.monotonic() - begun
    Figures("mutants", str(options.seed), tried, tried, 0, 0, 0, 0, took, note).write(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
