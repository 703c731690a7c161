"""A run of load as one HTML page that needs nothing else: tables, percentiles, rates and latencies over time, lag."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from streamstore.bench.load.outcome import CURVE, seconds_of
from streamstore.bench.load.table import subjects_of
from streamstore.bench.report import quantity
from streamstore.bench.result import Result, Run

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 760, 260, 70, 12, 30, 14
STEPS = (1, 2, 2.5, 5, 10)
# Each stands out from white and from black.
COLOURS = ("#1f77d0", "#d9660a", "#2a9d3f", "#9461e0", "#d6404a", "#7d8590", "#a88400", "#2aa0a8")
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; margin: 2em auto; max-width: 860px; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.6em 0 1.4em; }
th, td { padding: 0.25em 1em 0.25em 0; text-align: right; white-space: nowrap; }
td.text { white-space: normal; text-align: left; }
th { border-bottom: 1px solid #d0d7de; font-weight: 600; } td:first-child, th:first-child { text-align: left; }
.bad { color: #cf222e; } .key { white-space: nowrap; margin-right: 1.2em; } .note { color: #57606a; }
svg text { font-size: 12px; fill: #57606a; } svg .grid { stroke: #d0d7de; }
@media (prefers-color-scheme: dark) {
body { background: #0d1117; color: #e6edf3; } th { border-color: #30363d; } svg .grid { stroke: #30363d; }
.note, svg text { color: #9198a1; fill: #9198a1; } .bad { color: #ff7b72; } }
"""


def page(run: Run) -> str:
    """The whole page."""
    found = subjects_of(run)
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width"><title>streamstore bench</title>',
        f"<style>{STYLE}</style></head><body><h1>streamstore bench</h1>",
        f"<p class=note>{escape(run.started.replace('T', ' ').replace('+00:00', ' UTC'))}</p>",
    ]
    for workload in dict.fromkeys(group for group, _ in found):
        rows = {label: metrics for (group, label), metrics in found.items() if group == workload}
        parts += _section(workload, rows)
    parts += _machine(run)
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _section(workload: str, rows: Mapping[str, Mapping[str, Result]]) -> list[str]:
    note = next(iter(rows.values()))["rate"].note
    return [
        f"<h2>{escape(workload)}</h2><p>{escape(note)}</p>",
        *_table(rows),
        *_keys(list(rows)),
        "<h3>Latency by percentile</h3><p class=note>From the planned moment on; dashed: of the calls alone.</p>",
        _percentiles(rows),
        "<h3>Records taken in each second</h3>",
        _over_time([dict(enumerate(_rounds(metrics["rate"]))) for metrics in rows.values()], "records/s"),
        "<h3>99th percentile of each second</h3><p class=note>By when operations ended; a gap: none did.</p>",
        _over_time([seconds_of(metrics["p99"], "p99") for metrics in rows.values()], "s"),
        *_lag([seconds_of(metrics["rate"], "lag ms") for metrics in rows.values()]),
    ]


def _lag(series: Sequence[Mapping[int, float]]) -> list[str]:
    """A picture of how far readers were behind, where there were any and they said so."""
    if not any(value for each in series for value in each.values()):
        return []
    behind = [{second: value / 1000 for second, value in each.items()} for each in series]
    return ["<h3>How far readers were behind at most, in each second</h3>", _over_time(behind, "s", logarithmic=False)]


def _table(rows: Mapping[str, Mapping[str, Result]]) -> list[str]:
    heads = ("", "rate", "p50", "p90", "p99", "p99.9", "max", "refused", "failed", "unfinished")
    lines = ["<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for label, metrics in rows.items():
        rate, curve = metrics["rate"].ours, metrics["p99"].ours
        assert rate is not None
        assert curve is not None
        cells = [escape(f"{label} [{rate.durability}]")]
        cells += [_value(metrics[name]) for name in ("rate", "p50", "p90", "p99", "p99.9")]
        cells.append(quantity(curve.extra["p100"], "s"))
        counts = [rate.extra[name] for name in ("refused records", "failed operations", "unfinished operations")]
        cells += [f"<span class=bad>{count:,.0f}</span>" if count else "0" for count in counts]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return [*lines, "</table>"]


def _value(result: Result) -> str:
    return "-" if result.value is None else quantity(result.value, result.unit)


def _rounds(result: Result) -> Sequence[float]:
    return result.ours.rounds if result.ours is not None else ()


def _keys(labels: Sequence[str]) -> list[str]:
    keys = [
        f'<span class=key><svg width=22 height=10><line x1=0 y1=5 x2=22 y2=5 stroke-width=3 stroke="{_colour(index)}"/>'
        f"</svg> {escape(label)}</span>"
        for index, label in enumerate(labels)
    ]
    return ["<p>", *keys, "</p>"]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


class _Frame:
    """Axes: x from 0 to 1 over the width, y on a logarithmic or plain scale."""

    def __init__(self, values: Sequence[float], unit: str, *, logarithmic: bool) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self._log = logarithmic
        self.low = 10 ** math.floor(math.log10(min(positive))) if logarithmic else 0.0
        self.step = _step(max(positive) / 5)
        self.high = self.step * math.ceil(0.999 * max(positive) / self.step)
        if logarithmic:
            self.high = 10 ** math.ceil(math.log10(max(positive)))
        if self.high <= self.low:
            self.high = self.low * 10
        self._unit = unit

    def x(self, share: float) -> float:
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self._log:
            share = (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        else:
            share = value / self.high
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def grid(self) -> list[str]:
        if self._log:
            steps = [self.low * 10**n for n in range(round(math.log10(self.high / self.low)) + 1)]
        else:
            steps = [self.step * n for n in range(round(self.high / self.step) + 1)]
        return [
            f'<line class="grid" x1="{LEFT}" y1="{self.y(step):.1f}" x2="{WIDTH - RIGHT}" y2="{self.y(step):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{self.y(step) + 4:.1f}" text-anchor="end">{quantity(step, self._unit)}</text>'
            for step in steps
        ]

    def line(self, points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> str:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        extra = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{extra}/>'


def _step(least: float) -> float:
    """A round number that is no less."""
    power: float = 10 ** math.floor(math.log10(least))
    return next(power * step for step in STEPS if power * step >= least * 0.999)


def _under(x: float, text: str) -> str:
    """A label of the x axis; the last one ends where the axis does."""
    anchor = "end" if x > WIDTH - RIGHT - 20 else "middle"
    return f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{text}</text>'


def _svg(parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img">'
    return "\n".join([head, *parts, "</svg>"])


def _nines(share: float) -> float:
    """Where a percentile stands: each further nine as far from the one before it."""
    return min(-math.log10(max(1 - share / 100, 1e-4)) / 4, 1.0) if share < 100 else 1.0


def _percentiles(rows: Mapping[str, Mapping[str, Result]]) -> str:
    curves = [metrics["p99"].ours for metrics in rows.values()]
    extras = [curve.extra for curve in curves if curve is not None]
    kinds = ("service ", "")
    values = [extra.get(f"{kind}p{share:g}", 0.0) for extra in extras for kind in kinds for share in CURVE[1:]]
    frame = _Frame(values, "s", logarithmic=True)
    parts = frame.grid()
    parts += [_under(frame.x(_nines(share)), f"{share:g} %") for share in (0.0, 90.0, 99.0, 99.9, 99.99)]
    for index, extra in enumerate(extras):
        for kind, dash in zip(kinds, ("4 4", ""), strict=True):
            names = {share: f"{kind}p{share:g}" for share in CURVE if share < 100}
            points = [(_nines(share), extra[name]) for share, name in names.items() if name in extra]
            parts += [frame.line(points, _colour(index), dash)] if points else []
    return _svg(parts)


def _over_time(series: Sequence[Mapping[int, float]], unit: str, *, logarithmic: bool | None = None) -> str:
    """A line for each series over the seconds, broken where seconds are missing; a dot for one that stands alone."""
    longest = 1 + max((second for each in series for second in each), default=0)
    if longest < 2:
        return "<p class=note>Too short a run for a picture.</p>"
    by_power = unit == "s" if logarithmic is None else logarithmic
    frame = _Frame([value for each in series for value in each.values()], unit, logarithmic=by_power)
    parts = frame.grid()
    every = round(_step(max(1, longest / 10)))
    parts += [_under(frame.x(second / (longest - 1)), f"{second} s") for second in range(0, longest, every)]
    for index, each in enumerate(series):
        for points in _stretches(each):
            line = [(second / (longest - 1), value) for second, value in points]
            if len(line) == 1:
                x, y = frame.x(line[0][0]), frame.y(line[0][1])
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(index)}"/>')
            else:
                parts.append(frame.line(line, _colour(index)))
    return _svg(parts)


def _stretches(series: Mapping[int, float]) -> list[list[tuple[int, float]]]:
    found: list[list[tuple[int, float]]] = []
    for second, value in sorted(series.items()):
        if found and found[-1][-1][0] == second - 1:
            found[-1].append((second, value))
        else:
            found.append([(second, value)])
    return found


def _machine(run: Run) -> list[str]:
    facts = [
        f"<tr><td>{escape(name)}</td><td class=text>{escape(value)}</td></tr>" for name, value in run.machine.items()
    ]
    floors = [
        f"<tr><td>{escape(name)}</td><td>{quantity(figure.value, figure.unit)}</td>"
        f"<td class=text>{escape(figure.note)}</td></tr>"
        for name, figure in run.calibration.items()
    ]
    return ["<h2>The machine</h2><table>", *facts, "</table><h3>Its own speeds</h3><table>", *floors, "</table>"]
