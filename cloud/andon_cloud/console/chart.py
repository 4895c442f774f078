"""ECharts options for the machine page's charts: plain data, drawn by the library that NiceGUI ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_cloud.console.rates import Point

# Text colours come from console.css: the charts are SVG, so one drawing serves the dark and the light theme.
_GRID = {"left": 56, "right": 16, "top": 16, "bottom": 32}
_RULE = {"lineStyle": {"color": "#8892a055"}}
TEMPERATURE_COLOUR = "#e0662f"
CYCLES_COLOUR = "#2f7de0"


def temperature_options(points: Sequence[Point], start_ms: int, stop_ms: int) -> dict[str, Any]:
    """A line of temperature in degC over [start_ms, stop_ms]."""
    series = {
        "type": "line",
        "name": "Temperature",
        "showSymbol": False,
        "data": [[point.time_ms, round(point.value, 2)] for point in points],
        "lineStyle": {"color": TEMPERATURE_COLOUR, "width": 2.5},
        "itemStyle": {"color": TEMPERATURE_COLOUR},
        "areaStyle": {"color": TEMPERATURE_COLOUR, "opacity": 0.12},
    }
    return _options(series, start_ms, stop_ms, unit="°C")


def cycles_options(points: Sequence[Point], start_ms: int, stop_ms: int) -> dict[str, Any]:
    """Bars of cycles per window over [start_ms, stop_ms]."""
    series = {
        "type": "bar",
        "name": "Cycles",
        "barMaxWidth": 14,
        "data": [[point.time_ms, point.value] for point in points],
        "itemStyle": {"color": CYCLES_COLOUR, "borderRadius": [2, 2, 0, 0]},
    }
    return _options(series, start_ms, stop_ms, unit="", whole=True)


def _options(series: dict[str, Any], start_ms: int, stop_ms: int, *, unit: str, whole: bool = False) -> dict[str, Any]:
    value_axis: dict[str, Any] = {
        "type": "value",
        "scale": not whole,
        "axisLabel": {"formatter": f"{{value}} {unit}".strip()},
        "splitLine": _RULE,
    }
    if whole:
        value_axis["minInterval"] = 1
    return {
        "animation": False,
        "grid": _GRID,
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "time",
            "min": start_ms,
            "max": stop_ms,
            "axisLabel": {"hideOverlap": True},
            "splitLine": {"show": False},
            "axisLine": _RULE,
        },
        "yAxis": value_axis,
        "series": [series],
    }
