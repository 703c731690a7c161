"""The program that measures: every declared row is measured by one benchmark, rounds alternate, failures are shown."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import plan
from bench.board import Board
from bench.race import Lap, quartiles, race
from bench.rivals import OPENERS
from bench.rows import RIVAL_QUEUES, ROWS, at_most
from streamstore.bench.result import Side, load

BENCH = Path(__file__).parent.parent / "bench"
OURS = Side("streamstore", "sync", "s", 1.0)


class Rounds:
    """Stands in for pytest-benchmark's fixture: runs the rounds, and takes a second for each."""

    def __init__(self) -> None:
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=[]))
        self.extra_info: dict[str, Any] = {}

    def pedantic(
        self, target: Callable[..., Any], *, setup: Any, rounds: int, warmup_rounds: int, iterations: int
    ) -> None:
        """Call setup and target in turn; only what follows the warm-up is kept."""
        assert iterations == 1
        for number in range(warmup_rounds + rounds):
            arguments, keywords = setup()
            target(*arguments, **keywords)
            if number >= warmup_rounds:
                self.stats.stats.data.append(1.0)


def promised() -> Counter[str]:
    """Return how many benchmarks promise each row, from the marks on the functions and on their parameters."""
    found: Counter[str] = Counter()
    for path in sorted(BENCH.glob("bench_*.py")):
        for name, function in vars(import_module(f"bench.{path.stem}")).items():
            if not name.startswith("bench_"):
                continue
            for mark in getattr(function, "pytestmark", ()):
                marks = [mark, *itertools.chain(*(getattr(case, "marks", ()) for case in mark.args[-1]))]
                found.update(row for each in marks if each.name == "rows" for row in each.args)
    return found


def test_every_row_is_promised_by_exactly_one_benchmark(pytestconfig: pytest.Config) -> None:
    """No row is declared and forgotten, none is measured twice, none is measured without being declared."""
    pytestconfig.addinivalue_line("markers", "rows(*ids): of the benchmarks, see bench/pytest.ini")
    assert promised() == Counter(dict.fromkeys(ROWS, 1))


def test_every_rival_of_the_queue_rows_can_be_opened_by_its_name() -> None:
    """The names in the rows are names in the table of rivals, and each rival has a file."""
    assert set(RIVAL_QUEUES) <= set(OPENERS)
    assert {module for module, _kind, _options in OPENERS.values()} <= {path.stem for path in BENCH.glob("rivals/*.py")}


def test_rounds_alternate_and_warm_up_does_not_count() -> None:
    """Rival, ours, rival, ours; inputs are made before either runs; only the rounds after the warm-up give ratios."""
    calls: list[str] = []
    ours = Lap("streamstore", "process", 100, lambda _: calls.append("ours"), lambda: calls.append("make ours"))
    rival = Lap("rival", "process", 10, lambda _: calls.append("rival"), lambda: calls.append("make rival"))
    outcome = race(Rounds(), ours, rival, rounds=3, warm_rounds=2)
    assert calls == ["make rival", "make ours", "rival", "ours"] * 5
    assert outcome.ours.rounds == (100.0, 100.0, 100.0)
    assert len(outcome.rival.rounds) == len(outcome.ratios) == 3
    assert outcome.ratio == sorted(outcome.ratios)[1]


def test_quartiles_of_one_value_are_that_value() -> None:
    """A single round has no spread."""
    assert quartiles([4.0]) == (4.0, 4.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_a_board_writes_rows_in_declared_order_with_verdicts(tmp_path: Path) -> None:
    """What was posted is judged against the declared bar; what was promised and not posted is failed."""
    board = Board("quick", "2026-01-02T03:04:05Z", "abc")
    board.post("touch", 0.3, OURS)
    board.post("open", 0.05, OURS, spread=(0.04, 0.06))
    board.post_failed(["open", "open.flat"], "RuntimeError: gone")
    board.write(tmp_path / "deep" / "r.json")
    rows = load(tmp_path / "deep" / "r.json").results
    assert [(row.id, row.verdict) for row in rows] == [("open", "pass"), ("open.flat", "failed"), ("touch", "miss")]
    assert rows[0].bar == at_most(0.1)
    assert (rows[0].low, rows[0].high) == (0.04, 0.06)
    assert rows[1].error == "RuntimeError: gone"


def test_a_board_refuses_rows_that_nobody_declared_and_rows_posted_twice() -> None:
    """A slip in a benchmark is loud."""
    board = Board("quick", "2026-01-02T03:04:05Z", "abc")
    board.post("open", 0.05, OURS)
    with pytest.raises(AssertionError, match="posted twice"):
        board.post("open", 0.05, OURS)
    with pytest.raises(KeyError):
        board.post("opne", 0.05, OURS)


def test_quick_and_full_differ_in_sizes_only(tmp_path: Path) -> None:
    """Both modes measure the same rows; full has the sizes of the promises."""
    quick, full = plan.plan("quick", tmp_path), plan.plan("full", tmp_path)
    assert (full.small_bytes, full.large_bytes) == (1_000_000_000, 10_000_000_000)
    assert (full.streams, full.shards) == (1_000, 10_000)
    assert quick.large_bytes < full.large_bytes
