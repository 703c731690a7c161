"""Find the code blocks of a Markdown document and what of them is to be run. Runs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)[^\n`]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
RUNNABLE = "<!-- runnable -->"
NOT_RUNNABLE = re.compile(r"<!-- not runnable: (.+?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: where its first line of code stands, its language, its text, and the remark before it."""

    line: int
    language: str
    text: str
    remark: str


def blocks(document: str) -> list[Block]:
    """Return the fenced blocks in order. A remark is an HTML comment on the line before the fence."""
    found = []
    for match in FENCE.finditer(document):
        before = document[: match.start()].rstrip("\n").rsplit("\n", 1)[-1].strip()
        remark = before if before.startswith("<!--") else ""
        found.append(Block(document.count("\n", 0, match.start(2)) + 1, match[1], match[2], remark))
    return found


def python_to_run(path: Path) -> list[Block]:
    """Return the Python blocks to run: the README's bar those with a reason not to, the marked ones elsewhere."""
    found = [block for block in blocks(path.read_text(encoding="utf-8")) if block.language == "python"]
    if path.name == "README.md":
        return [block for block in found if not NOT_RUNNABLE.match(block.remark)]
    return [block for block in found if block.remark == RUNNABLE]


def script(path: Path, found: list[Block]) -> str:
    """Join the blocks to one program whose line numbers are those of the document, so that a traceback points there."""
    lines: list[str] = []
    for block in found:
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.text.splitlines()
    return "\n".join(lines) + "\n"


def commands(document: str) -> list[tuple[int, str]]:
    """Return (line, command) for what the console and bash blocks let a reader type and that calls `streamstore`.

    In a console block a command follows `$ `; a trailing backslash continues a line; `#` lines are remarks.
    """
    found = []
    for block in blocks(document):
        if block.language not in {"console", "bash", "sh", "shell"} or NOT_RUNNABLE.match(block.remark):
            continue
        prompt = block.language == "console"
        pending, start = "", 0
        for offset, line in enumerate(block.text.splitlines()):
            if not pending and prompt and not line.startswith("$ "):
                continue
            start = start if pending else block.line + offset
            pending += line.removeprefix("$ ") if prompt and not pending else line
            if pending.endswith("\\"):
                pending = pending[:-1]
                continue
            if re.search(r"(^|[|;&]\s*)(\.venv/bin/)?streamstore\s", pending):
                found.append((start, pending.replace(".venv/bin/streamstore", "streamstore")))
            pending = ""
    return found
