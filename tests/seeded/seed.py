"""What a seeded bug is, and how it is put into the text of its file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


class Misfit(Exception):
    """The words that a seed changes do not stand in its file exactly once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seed:
    """`old` becomes `new` in `file`, and then `suite` fails.

    A suite is a program of tests/c with the build it is of ("plain/test_lock", "kill/kill_points roll-header"), or
    arguments for pytest ("tests/test_expiry.py -k death").
    """

    name: str
    story: str
    file: str
    old: str
    new: str
    suite: str

    @property
    def in_c(self) -> bool:
        """Whether it is the core that is changed."""
        return self.file.endswith(".c")

    def plant(self, text: str) -> str:
        """The file's text with the bug in it."""
        count = text.count(self.old)
        if count != 1:
            raise Misfit(f"{self.name}: {self.old!r} stands {count} times in {self.file}")
        return text.replace(self.old, self.new)
