"""Where benchmarks post their results, and how the run is written from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from bench.race import Race
from bench.rows import ROWS, Row
from streamstore.bench.result import Figure, Result, Run, Side, dump


class Board:
    """All results of one run so far; a row is posted at most once, and only a row that is declared."""

    def __init__(self, mode: str, started: str, commit: str) -> None:
        self.mode, self.started, self.commit = mode, started, commit
        self.machine: dict[str, str] = {}
        self.calibration: dict[str, Figure] = {}
        self.posted: dict[str, Result] = {}

    def post(
        self,
        row_id: str,
        value: float | None,
        ours: Side | None = None,
        rival: Side | None = None,
        *,
        spread: tuple[float, float] | None = None,
        note: str = "",
    ) -> None:
        """Post what one row came to."""
        low, high = spread if spread is not None else (None, None)
        row = ROWS[row_id]
        filled = _result(row, note)
        self._keep(dataclasses.replace(filled, value=value, low=low, high=high, ours=ours, rival=rival))

    def post_race(self, row_id: str, outcome: Race, *, note: str = "") -> None:
        """Post the ratio of a race with its spread."""
        self.post(row_id, outcome.ratio, outcome.ours, outcome.rival, spread=outcome.spread, note=note)

    def post_failed(self, row_ids: Iterable[str], error: str) -> None:
        """Post rows that could not be measured; those already posted stay."""
        for row_id in row_ids:
            if row_id not in self.posted:
                self._keep(dataclasses.replace(_result(ROWS[row_id], ""), error=error))

    def _keep(self, result: Result) -> None:
        assert result.id not in self.posted, f"{result.id} is posted twice"
        self.posted[result.id] = result.judged()

    def write(self, path: Path) -> None:
        """Write the run as one result file, rows in the order in which they are declared."""
        results = tuple(self.posted[row_id] for row_id in ROWS if row_id in self.posted)
        path.parent.mkdir(parents=True, exist_ok=True)
        run = Run("engine", self.mode, self.started, self.commit, self.machine, self.calibration, results)
        dump(run, path)


def _result(row: Row, note: str) -> Result:
    text = " ".join(part for part in (row.note, note) if part)
    return Result(row.id, row.group, row.title, row.unit, bar=row.bar, record_bytes=row.record_bytes, note=text)
