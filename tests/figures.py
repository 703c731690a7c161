"""What a suite of the proof found, as one JSON file of figures, and the table made of all of them.

    python tests/figures.py docs/reliability.md      # writes the table between the marks in that page

A suite writes build/proof/NAME.json at its end, and at Ctrl-C with what it came to. No figure is ever typed by hand.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROOF = ROOT / "build" / "proof"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = (
    "suite seeds cases faults records lost damaged duplicated seconds commit kernel filesystem note".split()
)  # of the file; the table shows them in this order, under the same names


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """One run of one suite. `seeds` is text such as "1 to 20"; `note` is what the numbers alone do not say."""

    suite: str
    seeds: str
    cases: int
    faults: int
    records: int
    lost: int
    damaged: int
    duplicated: int
    seconds: float
    note: str = ""

    def write(self, stores: str | Path = "/tmp", directory: Path = PROOF) -> Path:
        """Write them for the table, with where they were found: `stores` is the directory that held the stores."""
        directory.mkdir(parents=True, exist_ok=True)
        told = dataclasses.asdict(self) | {
            "seconds": round(self.seconds, 1),
            "commit": commit(),
            "kernel": os.uname().release,
            "filesystem": filesystem(stores),
        }
        path = directory / f"{self.suite}.json"
        path.write_text(json.dumps({name: told[name] for name in COLUMNS}, indent=1) + "\n", encoding="utf-8")
        return path


def commit() -> str:
    """The commit that stands here, with a + where the tree differs from it; "unknown" outside of a repository."""
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short=9", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed else "")


def filesystem(directory: str | Path) -> str:
    """The type of the file system that holds `directory`, as the kernel calls it."""
    best, found = -1, "unknown"
    here = os.path.realpath(directory)
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split()
        if (here == mount or here.startswith(mount.rstrip("/") + "/")) and len(mount) >= best:
            best, found = len(mount), kind
    return found


def read_all(directory: Path = PROOF) -> list[dict[str, object]]:
    """What every suite left there, by name; ValueError where a file lacks a figure."""
    rows = []
    for path in sorted(directory.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        missing = [name for name in COLUMNS if name not in row and name != "note"]
        if missing:
            raise ValueError(f"{path.name} lacks {', '.join(missing)}")
        rows.append({name: row.get(name, "") for name in COLUMNS})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """A table in Markdown, a suite a row."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = [f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def put_into(page: Path, rows: list[dict[str, object]]) -> None:
    """Replace what stands between the marks in `page`; ValueError where they are missing."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table")
    page.write_text(f"{before}{begin}\n{table(rows)}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    put_into(Path(sys.argv[1]), read_all())
