"""What the embedded store knows without reading its file: series, field types and the newest sample of each field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_cloud.telemetry.store import Sample, Series, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One field of one series: the unit in which samples are stored and read. Equal only to itself."""

    series_id: int
    field_id: int
    measurement: str
    field: str
    type: str
    tags: Mapping[str, str]


# A column and the time (ns since the epoch) and value of its newest sample.
Newest = tuple[Column, int, Value]


class Catalog:
    """Columns by measurement with their newest samples. Used from one thread, the event loop's."""

    def __init__(self) -> None:
        self._measurements: dict[str, dict[tuple[int, int], Newest]] = {}

    def apply(self, changes: Iterable[Newest]) -> None:
        """Take over committed samples; an older one than the newest known changes nothing."""
        for column, time_ns, value in changes:
            columns = self._measurements.setdefault(column.measurement, {})
            key = (column.series_id, column.field_id)
            known = columns.get(key)
            if known is None or time_ns >= known[1]:
                columns[key] = (column, time_ns, value)

    def select(self, measurement: str, tags: Mapping[str, str], fields: tuple[str, ...] = ()) -> Iterator[Newest]:
        """Columns of a measurement whose tags include `tags`, in the order in which they first appeared."""
        wanted = tags.items()
        for newest in self._measurements.get(measurement, {}).values():
            column = newest[0]
            if wanted <= column.tags.items() and (not fields or column.field in fields):
                yield newest

    def latest(self, measurement: str, tags: Mapping[str, str]) -> list[Series]:
        """Newest sample of every selected column."""
        return [
            Series(measurement, column.field, column.tags, [Sample(time_ns // _NS_PER_MS, value)])
            for column, time_ns, value in self.select(measurement, tags)
        ]
