"""The branches that no run takes, each with its reason: tests/branches/untaken.txt, held against what was counted.

A reason is a line that begins with "= "; below it stand its branches, as the tool prints them. A "?" before a branch
says that it depends on how threads or processes meet: it may be taken or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from branches.counting import Branch

UNTAKEN = Path(__file__).with_name("untaken.txt")
ENTRY = re.compile(r"(\? )?(csrc/\S+) (\w+)(?: \[(\d+)\])? #(\d+): (.+)")


class Explained(NamedTuple):
    """What the file says."""

    never: dict[Branch, str]
    by_chance: dict[Branch, str]


def read(text: str) -> Explained:
    """Branches and their reasons; ValueError where a line is neither, or stands below no reason, or twice."""
    found = Explained({}, {})
    reason = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("= "):
            reason = line[2:]
            continue
        match = ENTRY.fullmatch(line.strip())
        if not match or not reason:
            raise ValueError(f"no branch, or below no reason: {line}")
        chance, file, function, turn, way, words = match.groups()
        branch = Branch(file, function, words, int(turn or 1), int(way))
        if branch in found.never or branch in found.by_chance:
            raise ValueError(f"stands there twice: {line}")
        (found.by_chance if chance else found.never)[branch] = reason
    return found


def against(explained: Explained, taken: Iterable[Branch], untaken: Iterable[Branch]) -> list[str]:
    """What does not agree: taken and listed, not taken and not listed, listed and not there."""
    taken, untaken = set(taken), set(untaken)
    wrong = [f"taken, though listed as never: {branch}" for branch in sorted(taken & explained.never.keys())]
    listed = explained.never.keys() | explained.by_chance.keys()
    wrong += [f"not taken, and not listed: {branch}" for branch in sorted(untaken - listed)]
    wrong += [f"listed, and not in the sources: {branch}" for branch in sorted(listed - taken - untaken)]
    return wrong
