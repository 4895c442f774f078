"""What the store's series say about each machine: pure functions from series to points."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from andon_cloud.console.rates import Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from andon_cloud.telemetry.store import Sample, Series, Value

Channel = tuple[str, str, str]
"""Machine, node and channel: what a line of a chart belongs to."""


@dataclass(slots=True)
class Newest:
    """The newest values of one machine."""

    temperature: Point | None = None
    temperature_channel: Channel | None = None
    sensor_fault: str | None = None
    cycles: Point | None = None
    cycles_channel: Channel | None = None
    contacts: dict[int, bool] = field(default_factory=dict)
    last_seen_ms: int | None = None


def newest_by_machine(
    temperature: Iterable[Series], cycles: Iterable[Series], relay: Iterable[Series], node: Iterable[Series]
) -> dict[str, Newest]:
    """Sort the store's latest samples to their machines.

    A machine's temperature and cycles are those of its lowest channel; of two nodes with that channel (one was replaced)
    the one that reported last.
    """
    machines: defaultdict[str, Newest] = defaultdict(Newest)
    temperature, cycles, relay, node = list(temperature), list(cycles), list(relay), list(node)
    for series in (*temperature, *cycles, *relay, *node):
        newest = machines[series.tags.get("machine", "")]
        newest.last_seen_ms = max(newest.last_seen_ms or 0, series.samples[-1].time_ms)
    for machine, series in _chosen(temperature, "celsius").items():
        machines[machine].temperature = _point(series.samples[-1])
        machines[machine].temperature_channel = channel_of(series)
    for machine, series in _chosen(temperature, "fault").items():
        fault = str(series.samples[-1].value)
        machines[machine].sensor_fault = None if fault == "ok" else fault
    for machine, series in _chosen(cycles, "total").items():
        machines[machine].cycles = _point(series.samples[-1])
        machines[machine].cycles_channel = channel_of(series)
    for series in sorted(relay, key=lambda one: one.samples[-1].time_ms):
        if series.field == "on":
            contacts = machines[series.tags.get("machine", "")].contacts
            contacts[_channel_number(series)] = series.samples[-1].value is True
    return dict(machines)


def points_by_channel(found: Iterable[Series], name: str) -> dict[Channel, list[Point]]:
    """The points of field `name` per channel, oldest first; a machine that changed its line keeps one history."""
    points: defaultdict[Channel, list[Point]] = defaultdict(list)
    for series in found:
        if series.field == name:
            points[channel_of(series)].extend(point for point in map(_point, series.samples) if point is not None)
    return {channel: sorted(own) for channel, own in points.items()}


def settle(windows: Sequence[Point], window_ms: int, newest: Point | None) -> list[Point]:
    """Stamp windowed points with their window's end, and let the newest reading stand for the unfinished window."""
    if newest is None:
        return [Point(point.time_ms + window_ms, point.value) for point in windows]
    ended = [Point(point.time_ms + window_ms, point.value) for point in windows]
    return [*(point for point in ended if point.time_ms < newest.time_ms), newest]


def channel_of(series: Series) -> Channel:
    """Machine, node and channel of a series."""
    return series.tags.get("machine", ""), series.tags.get("node", ""), series.tags.get("channel", "0")


def readings_per_s(counted: Iterable[Series], seconds: float) -> float:
    """Readings per second from series of counts."""
    return sum(float(sample.value) for series in counted for sample in series.samples) / seconds


def _chosen(found: Iterable[Series], name: str) -> dict[str, Series]:
    chosen: dict[str, Series] = {}
    for series in found:
        machine = series.tags.get("machine", "")
        if series.field == name and (machine not in chosen or _rank(series) < _rank(chosen[machine])):
            chosen[machine] = series
    return chosen


def _rank(series: Series) -> tuple[int, int]:
    return _channel_number(series), -series.samples[-1].time_ms


def _channel_number(series: Series) -> int:
    text = series.tags.get("channel", "0")
    return int(text) if text.isdecimal() else 0


def _point(sample: Sample) -> Point | None:
    value: Value = sample.value
    if isinstance(value, bool | str):
        return None
    return Point(sample.time_ms, float(value))
