"""The mutants that no suite notices, each with its reason: tests/seeded/survivors.txt, held against a run.

A reason is a line that begins with "= " and one of the kinds below; under it stand its mutants, as the tool prints
them. A "?" before a mutant says that it is noticed or not as threads or processes happen to meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from seeded.mutant import Mutant

SURVIVORS = Path(__file__).with_name("survivors.txt")
KINDS = {
    "The same:": "nothing can tell it from the original",
    "Time alone:": "what is done takes longer, or is done more often than it need be",
    "Second line:": "what it guards against is also caught elsewhere, by what the reason names",
    "Chance:": "it can be noticed only where threads or a machine happen to meet in a way that no test can arrange",
}


class Explained(NamedTuple):
    """What the file says: the reason of each mutant, and which of them may be noticed."""

    reasons: dict[Mutant, str]
    by_chance: set[Mutant]

    def kind(self, mutant: Mutant) -> str:
        """Of KINDS, without its colon; "" where it is not listed."""
        return self.reasons.get(mutant, "").partition(":")[0]


def read(text: str) -> Explained:
    """ValueError where a line is neither reason nor mutant, stands below no reason, or twice."""
    found = Explained({}, set())
    reason = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("= "):
            reason = line[2:]
            if not reason.startswith(tuple(KINDS)):
                raise ValueError(f"of none of the kinds {', '.join(KINDS)} {line}")
            continue
        mutant = Mutant.named(line.removeprefix("? "))
        if not mutant or not reason:
            raise ValueError(f"no mutant, or below no reason: {line}")
        if mutant in found.reasons:
            raise ValueError(f"stands there twice: {line}")
        found.reasons[mutant] = reason
        if line.startswith("? "):
            found.by_chance.add(mutant)
    return found


def against(
    explained: Explained, every: Iterable[Mutant], survived: Iterable[Mutant], noticed: Iterable[Mutant]
) -> list[str]:
    """What does not agree: survived and not listed, listed and noticed, listed and not in the sources."""
    listed = explained.reasons.keys()
    wrong = [f"survived, and is not explained: {mutant}" for mutant in survived if mutant not in listed]
    wrong += [
        f"noticed, though listed as a survivor: {mutant}"
        for mutant in noticed
        if mutant in listed and mutant not in explained.by_chance
    ]
    there = set(every)
    return wrong + [f"listed, and not in the sources: {mutant}" for mutant in listed if mutant not in there]
