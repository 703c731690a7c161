"""Mutants: small changes of a C source, one place each, named by the words of their line.

A comparison, an operator or a number becomes another, a condition always or never holds, a statement is left out. Which
of them a run tries is a function of the seed and of each mutant's own name: an edit elsewhere in the file changes none.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SWAPS = {
    "<=": "<", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&", "<": "<=", ">": ">=", "+": "-", "-": "+",
}  # fmt: skip
OPERATOR = re.compile(r"(?<=[\w)\]] )(<=|>=|==|!=|&&|\|\||<|>|\+|-)(?= [\w(*&!-])")
NUMBER = re.compile(r"(?<![\w.\"%])(\d+)(?![\w.\"])")
CONDITION = re.compile(r"\bif \((.+)\)(?= \{$|$)")
STATEMENT = re.compile(r"^\s+(?:\w+\(.*\)|[\w>.\-*\[\]()]+ [|+-]?= .+);$")  # a call or an assignment, whole
SIGNATURE = re.compile(r"^[a-z_].*?\b(\w+)\(")
NAME = re.compile(r"(csrc/\S+\.c) (\w+)(?: \[(\d+)\])?: (.+) => (.+)")


class Mutant(NamedTuple):
    """`words`, the `turn`-th such line of a function, become `changed`."""

    file: str
    function: str
    words: str
    turn: int
    changed: str

    def __str__(self) -> str:
        turn = f" [{self.turn}]" if self.turn > 1 else ""
        return f"{self.file} {self.function}{turn}: {self.words} => {self.changed}"

    @classmethod
    def named(cls, name: str) -> Mutant | None:
        """The mutant that prints so; None where the text is no name."""
        match = NAME.fullmatch(name)
        return Mutant(match[1], match[2], match[4], int(match[3] or 1), match[5]) if match else None

    def plant(self, text: str) -> str:
        """The file's text with the change in it; ValueError where its line is not there."""
        lines = text.splitlines()
        for number, function, turn in places(lines):
            if (function, lines[number].strip(), turn) == (self.function, self.words, self.turn):
                lines[number] = self.changed
                return "\n".join(lines) + "\n"
        raise ValueError(f"not in the sources: {self}")


def places(lines: list[str]) -> Iterator[tuple[int, str, int]]:
    """(index, function, which of its lines with these words) of every line inside of a function."""
    function, inside, seen = "", False, Counter[str]()
    for index, line in enumerate(lines):
        if not inside and (match := SIGNATURE.match(line)):
            function = match[1]
        if line == "{":
            inside, seen = True, Counter()
            continue
        inside = inside and line != "}"
        if inside:
            seen[line.strip()] += 1
            yield index, function, seen[line.strip()]


def changes(line: str) -> Iterator[str]:
    """All that this line could become by one small change."""
    code = line.split("/*")[0]
    if not code.strip() or code.lstrip().startswith(("*", "#", "SS_KILLPOINT", "assert", "static", "enum")):
        return
    for match in OPERATOR.finditer(code):
        yield line[: match.start()] + SWAPS[match[1]] + line[match.end() :]
    for match in NUMBER.finditer(code):
        other = 0 if "return 1;" in code else int(match[1]) + 1  # yes becomes no; any other number but 0 is yes, too
        yield line[: match.start()] + str(other) + line[match.end() :]
    if condition := CONDITION.search(code):
        yield line[: condition.start()] + "if (1)" + line[condition.end() :]
        yield line[: condition.start()] + "if (0)" + line[condition.end() :]
    if STATEMENT.match(code.rstrip()):
        yield ";"


def mutants(file: str, text: str) -> list[Mutant]:
    """All of a source, in its order."""
    lines = text.splitlines()
    return [
        Mutant(file, function, lines[index].strip(), turn, changed.strip())
        for index, function, turn in places(lines)
        for changed in changes(lines[index])
    ]


def drawn(every: Iterable[Mutant], seed: int) -> list[Mutant]:
    """The same ones in the order of a draw, which each mutant's name and the seed alone decide."""
    return sorted(set(every), key=lambda mutant: hashlib.sha256(f"{seed} {mutant}".encode()).digest())
