"""A temperature trend as the path of a small SVG: pure geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_cloud.console.rates import Point

WIDTH = 200
HEIGHT = 48
_MARGIN = 3.0
_MIN_SPAN_C = 2.0
"""Smallest height of the picture in degC: sensor noise of a tenth must not look like a storm."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """SVG path data for the line and for the area under it, in a box of `WIDTH` x `HEIGHT`; empty without data."""

    line: str
    area: str


def draw_sparkline(points: Sequence[Point], start_ms: int, stop_ms: int, gap_ms: int = 60_000) -> Sparkline:
    """Draw the points in [start_ms, stop_ms]; the line breaks where neighbours are more than `gap_ms` apart."""
    shown = [point for point in points if start_ms <= point.time_ms <= stop_ms]
    if not shown or stop_ms <= start_ms:
        return Sparkline("", "")
    low = min(point.value for point in shown)
    high = max(point.value for point in shown)
    middle, span = (low + high) / 2, max(high - low, _MIN_SPAN_C)
    bottom = middle - span / 2

    def place(point: Point) -> tuple[float, float]:
        x = (point.time_ms - start_ms) / (stop_ms - start_ms) * WIDTH
        y = HEIGHT - _MARGIN - (point.value - bottom) / span * (HEIGHT - 2 * _MARGIN)
        return round(x, 1), round(y, 1)

    lines, areas = [], []
    for run in _runs(shown, gap_ms):
        places = [place(point) for point in run]
        path = "L".join(f"{x:g} {y:g}" for x, y in places)
        lines.append(f"M{path}")
        areas.append(f"M{places[0][0]:g} {HEIGHT}L{path}L{places[-1][0]:g} {HEIGHT}Z")
    return Sparkline("".join(lines), "".join(areas))


def _runs(points: Sequence[Point], gap_ms: int) -> list[list[Point]]:
    runs = [[points[0]]]
    for point in points[1:]:
        if point.time_ms - runs[-1][-1].time_ms > gap_ms:
            runs.append([])
        runs[-1].append(point)
    return runs
