"""The benchmark result schema, the comparison of two runs, and the page and plot made from one."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamstore.bench import compare, plot, report, result
from streamstore.bench.result import Bar, Figure, Result, Run, SchemaError, Side
from streamstore.cli.bench import bench

OURS = Side("streamstore", "process", "records/s", 1_500_000.0, (1.4e6, 1.5e6, 1.6e6))
LMDB = Side("LMDB", "process", "records/s", 700_000.0, (7e5,), version="0.9", setup="sync=False, writemap=True")


def row(name: str = "put", value: float | None = 2.1, **changes: Any) -> Result:
    """Return one judged row against LMDB with a bar of at least 2x."""
    fields: dict[str, Any] = {"bar": Bar(">=", 2.0), "ours": OURS, "rival": LMDB, "low": 2.0, "high": 2.3, **changes}
    return Result(name, "write", f"{name} title", fields.pop("unit", "x"), value, **fields).judged()


def run(*rows: Result, cpu: str = "some cpu", mode: str = "quick") -> Run:
    """Return a run with the given rows on a machine with the given processor."""
    machine = {"cpu": cpu, "cores": "2", "kernel": "6.18", "filesystem": "ext4"}
    return Run(
        "engine", mode, "2026-01-02T03:04:05Z", "abc123", machine, {"memcpy": Figure(9e9, "bytes/s", "1 MiB")}, rows
    )


def document(*rows: Result) -> dict[str, Any]:
    """Return a run as decoded JSON."""
    decoded: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(run(*rows))))
    return decoded


def test_a_run_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    """Writing a run and loading it gives an equal run."""
    rows = (row(), row("info", bar=None), row("broken", None, error="no such engine"), row("floor", rival=None))
    result.dump(run(*rows), tmp_path / "r.json")
    assert result.load(tmp_path / "r.json") == run(*rows)


@pytest.mark.parametrize(
    ("value", "bar", "error", "verdict"),
    [
        (2.0, Bar(">=", 2.0), "", "pass"),
        (1.99, Bar(">=", 2.0), "", "miss"),
        (2.0, Bar("<=", 2.0), "", "pass"),
        (2.01, Bar("<=", 2.0), "", "miss"),
        (2.0, None, "", "info"),
        (None, Bar(">=", 2.0), "", "failed"),
        (2.5, Bar(">=", 2.0), "raised", "failed"),
    ],
)
def test_a_verdict_follows_from_value_bar_and_error(
    value: float | None, bar: Bar | None, error: str, verdict: str
) -> None:
    """The bar itself passes; no value or an error fails; no bar is information."""
    assert row(value=value, bar=bar, error=error).verdict == verdict


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("schema_version",), 2, "schema"),
        (("schema",), "other", "schema"),
        (("suite",), None, "run.suite"),
        (("surprise",), 1, "run: must be without the unknown surprise"),
        (("results",), {}, "run.results"),
        (("results", 0, "value"), "2.1", r"run.results\[0\].value"),
        (("results", 0, "value"), True, r"run.results\[0\].value"),
        (("results", 0, "value"), float("nan"), r"run.results\[0\].value"),
        (("results", 0, "record_bytes"), 1.5, r"run.results\[0\].record_bytes"),
        (("results", 0, "bar", "comparison"), ">", "comparison"),
        (("results", 0, "verdict"), "miss", "numbers give 'pass'"),
        (("results", 0, "ours", "durability"), "safe", "durability 'safe'"),
        (("results", 0, "rival", "rounds"), ["x"], r"rival.rounds\[0\]"),
        (("calibration", "memcpy", "value"), None, "run.calibration.memcpy.value"),
        (("machine", "cores"), 2, "run.machine.cores"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_place(
    path: tuple[str | int, ...], value: object, place: str
) -> None:
    """One wrong value anywhere in an else good document raises SchemaError naming where."""
    whole = document(row())
    inner: Any = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(SchemaError, match=place):
        result.parse(whole)


def test_a_missing_field_and_a_double_id_are_refused() -> None:
    """A required field may not be absent, an id may not stand twice."""
    whole = document(row())
    del whole["results"][0]["title"]
    with pytest.raises(SchemaError, match=r"results\[0\].title: must be present"):
        result.parse(whole)
    with pytest.raises(SchemaError, match="stands twice"):
        result.parse(document(row("a"), row("a")))


def test_a_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    """Text that is no JSON raises SchemaError with the file's name."""
    path = tmp_path / "r.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SchemaError, match=r"r\.json"):
        result.load(path)


def test_a_run_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    """dump() checks before a byte reaches the file."""
    with pytest.raises(SchemaError):
        result.dump(run(dataclasses.replace(row(), verdict="miss")), tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_the_json_schema_has_every_field_and_no_other() -> None:
    """The schema is closed, requires what has no default, and nests as the dataclasses do."""
    schema = result.json_schema()
    rows = schema["properties"]["results"]["items"]
    assert set(schema["properties"]) == {item.name for item in dataclasses.fields(Run)}
    assert schema["required"] == ["suite", "mode", "started", "commit"]
    assert rows["required"] == ["id", "group", "title", "unit"]
    assert rows["additionalProperties"] is False
    assert rows["properties"]["bar"]["anyOf"][0]["properties"]["value"] == {"type": "number"}
    assert rows["properties"]["ours"]["anyOf"][0]["properties"]["rounds"] == {
        "type": "array",
        "items": {"type": "number"},
    }


def kinds(before: Run, after: Run) -> dict[str, str]:
    """Return what compare() calls each row."""
    return {change.id: change.kind for change in compare.compare(before, after)}


def test_compare_tells_better_worse_same_new_and_gone() -> None:
    """Rows are matched by id; moves within the noise are the same."""
    before = run(row("a", 2.0), row("b", 2.0), row("c", 2.0), row("d", 2.0))
    after = run(row("a", 3.0), row("b", 1.0), row("c", 2.1), row("e", 2.0))
    assert kinds(before, after) == {"a": "better", "b": "worse", "c": "same", "e": "new", "d": "gone"}


def test_compare_knows_that_less_is_better_under_a_ceiling() -> None:
    """For a row with an upper bar, or a time without a bar, the smaller value is the gain."""
    ceiling, seconds = {"bar": Bar("<=", 2.0)}, {"bar": None, "unit": "s"}
    changes = compare.compare(
        run(row("a", 1.0, **ceiling), row("b", 1.0, **seconds)), run(row("a", 2.0, **ceiling), row("b", 0.5, **seconds))
    )
    assert [(change.kind, change.gain) for change in changes] == [("worse", 0.5), ("better", 2.0)]


def test_compare_leaves_absolute_figures_alone_across_machines() -> None:
    """Seconds of two machines are not compared; ratios are."""
    before = run(row("t", 1.0, unit="s", bar=None), row("r", 2.0), cpu="one")
    after = run(row("t", 9.0, unit="s", bar=None), row("r", 3.0), cpu="two")
    assert kinds(before, after) == {"t": "incomparable", "r": "better"}


def test_regressions_are_worse_failed_gone_and_bars_lost() -> None:
    """A bar that is lost counts even where the move is within the noise."""
    before = run(row("lost", 2.05), row("held", 2.05), row("broke", 2.0), row("gone", 2.0), row("slow", 4.0))
    after = run(
        row("lost", 1.99), row("held", 2.04), row("broke", None, error="no"), row("slow", 3.0), row("fresh", 9.0)
    )
    changes = compare.compare(before, after)
    assert [change.id for change in compare.regressions(changes)] == ["lost", "broke", "slow", "gone"]


def test_the_page_prints_mode_and_bar_beside_every_figure() -> None:
    """Each row carries both sides' durability, the bar and the verdict; misses are in the summary."""
    text = report.page(run(row(), row("slow", 1.5, note="why it is slow")), plot_name="p.svg")
    assert (
        "| put title | 1.50 M/s [process] | LMDB: 700.00 k/s [process] | 2.10 x (2.00 x .. 2.30 x) | >= 2.00 x | pass |"
        in text
    )
    assert "1 of 2 bars hold. Missed: slow (1.50 x, bar >= 2.00 x)." in text
    assert "- slow title: why it is slow" in text
    assert "- LMDB 0.9: sync=False, writemap=True." in text
    assert "![Each row against its bar](p.svg)" in text
    assert "| memcpy | 9.00 GB/s | 1 MiB |" in text


def test_the_page_says_what_could_not_be_measured() -> None:
    """A row that failed is in the summary and shows its error, never a figure."""
    text = report.page(run(row("broken", None, ours=None, error="engine missing")), plot_name=None)
    assert "0 of 1 bars hold. Not measured: broken." in text
    assert "**FAILED**" in text
    assert "engine missing" in text


def test_the_terminal_table_is_one_line_a_row() -> None:
    """The table for people at a terminal has a heading and a line for each row, aligned."""
    lines = report.text_table(run(row(), row("slow", 1.5), row("broken", None, error="first\nsecond"))).splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("pass")
    assert lines[2].endswith("MISS")
    assert lines[3].endswith("FAILED: first")


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (2_600_000, "records/s", "2.60 M/s"),
        (999, "records/s", "999 /s"),
        (9.5e9, "bytes/s", "9.50 GB/s"),
        (0.0000042, "s", "4.2 us"),
        (7.5e-8, "s", "75 ns"),
        (64 * 2**20, "bytes", "64.0 MiB"),
        (1.234, "x", "1.23 x"),
        (6.0, "puts", "6 puts"),
    ],
)
def test_quantities_are_scaled_for_reading(number: float, unit: str, text: str) -> None:
    """Rates, times, sizes and ratios each have their own scale."""
    assert report.quantity(number, unit) == text


def test_the_plot_is_wellformed_and_shows_each_row_with_a_bar() -> None:
    """The SVG parses, names each barred row once, and puts a pass right of the line and a miss left of it."""
    picture = plot.bars(run(row("good<", 4.0), row("bad", 1.0), row("info", bar=None)))
    root = ElementTree.fromstring(picture)
    texts = [item.text or "" for item in root.iter() if item.tag.endswith("text")]
    assert sum(text.startswith("good<") for text in texts) == 1
    assert not any(text.startswith("info") for text in texts)
    bars = [item for item in root.iter() if item.tag.endswith("rect")][1:]
    middle = plot._x(1.0, 0.5, 2.0)
    assert float(bars[0].get("x", "")) == pytest.approx(middle, abs=0.1)
    assert float(bars[1].get("x", "")) + float(bars[1].get("width", "")) == pytest.approx(middle, abs=0.1)


def test_an_empty_run_still_makes_a_page_and_a_plot(tmp_path: Path) -> None:
    """No results is a valid run."""
    report.write(run(), tmp_path / "b.md")
    assert "0 of 0 bars hold." in (tmp_path / "b.md").read_text(encoding="utf-8")
    ElementTree.fromstring((tmp_path / "b.svg").read_text(encoding="utf-8"))


def test_the_commands_compare_report_and_print_the_schema(tmp_path: Path) -> None:
    """compare exits 1 at a regression and 0 without; a file that does not fit is an error message, not a traceback."""
    result.dump(run(row("a", 4.0)), tmp_path / "old.json")
    result.dump(run(row("a", 2.0)), tmp_path / "new.json")
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    old, new, bad = (str(tmp_path / name) for name in ("old.json", "new.json", "bad.json"))
    worse = CliRunner().invoke(bench, ["compare", old, new])
    assert worse.exit_code == 1
    assert "| a | 4 x (pass) | 2 x (pass) | 0.50x | worse |" in worse.output
    assert CliRunner().invoke(bench, ["compare", new, old]).exit_code == 0
    refused = CliRunner().invoke(bench, ["compare", old, bad])
    assert refused.exit_code == 1
    assert "run.suite: must be present" in refused.output
    assert CliRunner().invoke(bench, ["report", old]).output.startswith("# Benchmarks")
    assert json.loads(CliRunner().invoke(bench, ["schema"]).output)["$id"] == result.SCHEMA_ID
