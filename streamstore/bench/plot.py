"""A run as one SVG picture: a bar a row, how far above or below its promise, on a logarithmic scale.

Plain strings, no plotting library: the picture is small, diffs well and needs nothing installed.
"""

from __future__ import annotations

import math
from html import escape

from streamstore.bench.compare import lower_is_better
from streamstore.bench.result import Result, Run

ROW_HEIGHT, LABEL_WIDTH, PLOT_WIDTH, VALUE_WIDTH, TOP = 26, 330, 420, 190, 58
COLOURS = {"pass": "#2f7d4f", "miss": "#b5482f", "text": "#24292f", "grid": "#d0d7de", "bar": "#57606a"}
TICKS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def headroom(result: Result) -> float | None:
    """Return how many times better than its bar a row is (1 is on the bar), None where it has no bar or no value."""
    if result.bar is None or result.value is None or result.bar.value <= 0:
        return None
    value = max(result.value, 1e-12)
    return result.bar.value / value if lower_is_better(result) else value / result.bar.value


def bars(run: Run) -> str:
    """Return the SVG text: rows that have a bar, in the order of the run."""
    rows = [(result, room) for result in run.results if (room := headroom(result)) is not None]
    largest = max([2.0, *(room for _, room in rows)])
    smallest = min([0.5, *(room for _, room in rows)])
    low, high = (
        max(TICKS[0], 2.0 ** math.floor(math.log2(smallest))),
        min(TICKS[-1], 2.0 ** math.ceil(math.log2(largest))),
    )
    height = TOP + ROW_HEIGHT * len(rows) + 16
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="sans-serif" font-size="12" fill="{COLOURS["text"]}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="15" font-weight="bold">'
        f"Against the bar (1 = the bar, right is better) - {escape(run.mode)} run</text>",
    ]
    parts += [_tick(tick, _x(tick, low, high), height) for tick in TICKS if low <= tick <= high]
    for index, (result, room) in enumerate(rows):
        parts += _row(result, room, TOP + ROW_HEIGHT * index, low, high)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(ratio: float, low: float, high: float) -> float:
    clamped = min(max(ratio, low), high)
    return LABEL_WIDTH + PLOT_WIDTH * (math.log2(clamped) - math.log2(low)) / (math.log2(high) - math.log2(low))


def _tick(tick: float, x: float, height: int) -> str:
    colour, width = (COLOURS["bar"], 2) if tick == 1.0 else (COLOURS["grid"], 1)
    return (
        f'<line x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{height - 10}" stroke="{colour}" stroke-width="{width}"/>'
        f'<text x="{x:.1f}" y="{TOP - 14}" text-anchor="middle" font-size="11">{tick:g}x</text>'
    )


def _row(result: Result, room: float, y: int, low: float, high: float) -> list[str]:
    middle, end = _x(1.0, low, high), _x(room, low, high)
    left, length = min(middle, end), max(abs(end - middle), 1.0)
    mode = result.ours.durability if result.ours is not None else ""
    colour = COLOURS.get(result.verdict, COLOURS["bar"])
    return [
        f'<text x="{LABEL_WIDTH - 10}" y="{y + 15}" text-anchor="end">{escape(result.id)} [{escape(mode)}]</text>',
        f'<rect x="{left:.1f}" y="{y + 4}" width="{length:.1f}" height="{ROW_HEIGHT - 10}" fill="{colour}"/>',
        f'<text x="{LABEL_WIDTH + PLOT_WIDTH + 10}" y="{y + 15}">{room:.2f}x ({escape(result.verdict)})</text>',
    ]
