"""The figures of the README come from a result file, and only what stands between the markers changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import readme
from streamstore.bench.result import AT_LEAST, Bar, Result, Run, Side

DOCUMENT = f"before\n{readme.BEGIN}\nearlier figures\n{readme.END}\nafter\n"


def run_of(*results: Result) -> Run:
    return Run("engine", "full", "2026-05-17T10:00:00Z", "abc1234", {"cpu": "X", "cores": "2"}, {}, results)


def result(row_id: str, value: float | None, bar: Bar | None, error: str = "") -> Result:
    ours = None if value is None else Side("streamstore", "sync", "records/s", value * 1e6)
    return Result(
        row_id, "write", f"title of {row_id}", "x", value, bar=bar, ours=ours, record_bytes=1024, error=error
    ).judged()


def test_rows_with_a_bar_are_there_with_mode_and_verdict():
    """Every row with a bar is a line with durability and verdict, also what missed or failed; information is not."""
    bar = Bar(AT_LEAST, 2)
    text = readme.figures(
        run_of(result("a", 3, bar), result("b", 1, bar), result("c", None, bar, "no"), result("d", 1, None))
    )
    lines = [line for line in text.splitlines() if "title of" in line]
    assert lines == [
        "| title of a (1024 B) | 3.00 M/s [sync] | - | 3.00 x | >= 2.00 x | pass |",
        "| title of b (1024 B) | 1.00 M/s [sync] | - | 1.00 x | >= 2.00 x | **MISS** |",
        "| title of c (1024 B) | - | - | - | >= 2.00 x | **FAILED** |",
    ]
    assert "1 of 3 bars hold. Missed: b" in text
    assert "abc1234: X, 2 cores." in text


def test_only_what_stands_between_the_markers_changes(tmp_path: Path):
    """What stands before and after stays; a second run replaces the first."""
    path = tmp_path / "README.md"
    path.write_text(DOCUMENT)
    readme.write(run_of(result("a", 3, None)), path)
    once = path.read_text()
    readme.write(run_of(result("a", 3, None)), path)
    assert path.read_text() == once
    assert once.startswith(f"before\n{readme.BEGIN}\n`python -m bench`")
    assert once.endswith(f"|\n{readme.END}\nafter\n")
    assert "earlier figures" not in once


@pytest.mark.parametrize("document", ["nothing", DOCUMENT * 2])
def test_markers_that_are_not_there_once_are_refused(document):
    """Without one pair of markers nothing is guessed."""
    with pytest.raises(ValueError, match="where one is wanted"):
        readme.fill(document, run_of())


def test_the_readme_has_its_markers():
    """The README of the project has the pair once."""
    assert readme.fill(readme.README.read_text(encoding="utf-8"), run_of())
