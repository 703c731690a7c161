"""What gcov counted, branch by branch, over all objects: a header's lines are counted once, whoever includes it."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from branches.building import TREE, objects

# Where a test lets a process die: nothing of it is in a build that is used.
NOT_THE_CORE = ("csrc/killpoint.h",)


class Branch(NamedTuple):
    """One way out of one line, by what stands there: line numbers change with every edit elsewhere in the file.

    `turn` says which of the function's lines with this text it is, `way` which of the line's ways; both from 1.
    """

    file: str
    function: str
    text: str
    turn: int
    way: int

    def __str__(self) -> str:
        which = f" [{self.turn}]" if self.turn > 1 else ""
        return f"{self.file} {self.function}{which} #{self.way}: {self.text}"


class Line(NamedTuple):
    """Where branches stand."""

    file: str
    number: int
    function: str


Counts = dict[Line, list[int]]


def _read(data: Path) -> list[dict[str, Any]]:
    command = ["gcov", "--branch-counts", "--branch-probabilities", "--json-format", "--stdout", str(data)]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True)
    files: list[dict[str, Any]] = json.loads(done.stdout)["files"]
    return files


def add_up(files: Iterable[dict[str, Any]]) -> Counts:
    """The counts of each line with branches in our own sources."""
    counts: Counts = {}
    for file in files:
        name = file["file"]
        if not name.startswith("csrc/") or name in NOT_THE_CORE:
            continue
        for line in file["lines"]:
            ways = [branch["count"] for branch in line["branches"]]
            if ways:
                place = Line(name, line["line_number"], line.get("function_name", ""))
                before = counts.setdefault(place, [0] * len(ways))
                before.extend([0] * (len(ways) - len(before)))
                counts[place] = [count + (ways[i] if i < len(ways) else 0) for i, count in enumerate(before)]
    return counts


def counted() -> Counts:
    """The same of all objects; one that never ran counts nothing, but its branches are there."""
    found = sorted(objects().rglob("*.gcno"))
    return add_up(file for notes in found for file in _read(notes.with_suffix(".gcda")))


def named(counts: Counts) -> Iterator[tuple[Line, Branch, int]]:
    """Every branch with its line, its name and how often it was taken."""
    texts = {file: (TREE / file).read_text(encoding="utf-8").splitlines() for file in {line.file for line in counts}}
    turns: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for line in sorted(counts):
        text = " ".join(texts[line.file][line.number - 1].split())
        turns[line.file, line.function, text] += 1
        for way, count in enumerate(counts[line], 1):
            yield line, Branch(line.file, line.function, text, turns[line.file, line.function, text], way), count
