"""Ids of series and fields in the embedded store's file, and the rule that a field keeps its type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import orjson

from andon_cloud.telemetry.catalog import Column, Newest
from andon_cloud.telemetry.lineprotocol import SeriesKey, Unsigned, series_key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from andon_cloud.telemetry.store import Value

TYPE_NAMES: Final[dict[type, str]] = {
    float: "float",
    int: "integer",
    Unsigned: "unsigned",
    bool: "boolean",
    str: "string",
}
_SQLITE_INTEGER_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """Why a line whose syntax is right cannot be stored."""

    reason: str


@dataclass(slots=True)
class FileIds:
    """Everything in the file has an id, kept here too. Throw the object away when a transaction fails, and load again.

    `seen` finds a column by series text, field and type in one step: what is found there is in no conflict.
    """

    series: dict[str, int] = field(default_factory=dict)
    fields: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    columns: dict[tuple[int, int], Column] = field(default_factory=dict)
    seen: dict[tuple[str, str, type], Column] = field(default_factory=dict)

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Self:
        """Read all ids; the columns follow as they are written to."""
        ids = cls()
        for series_id, measurement, tags in connection.execute("SELECT id, measurement, tags FROM series"):
            ids.series[series_key(measurement, orjson.loads(tags)).text] = series_id
        for field_id, measurement, name, kind in connection.execute("SELECT id, measurement, name, type FROM field"):
            ids.fields[measurement, name] = (field_id, kind)
        return ids

    def columns_of(
        self, connection: sqlite3.Connection, series: SeriesKey, fields: list[tuple[str, Value]]
    ) -> list[Column] | FieldConflict:
        """The columns of a line's fields, made where they are new; a line in conflict makes nothing."""
        try:
            return [self.seen[series.text, name, type(value)] for name, value in fields]
        except KeyError:
            pass
        conflict = self._conflict(series.measurement, fields)
        if conflict is not None:
            return conflict
        series_id = self.series.get(series.text)
        if series_id is None:
            series_id = self._insert_series(connection, series)
        columns: list[Column] = []
        for name, value in fields:
            known = self.fields.get((series.measurement, name))
            if known is None:
                known = self._insert_field(connection, series.measurement, name, TYPE_NAMES[type(value)])
            column = self.columns.get((series_id, known[0]))
            if column is None:
                column = Column(series_id, known[0], series.measurement, name, known[1], dict(series.tags))
                self.columns[series_id, known[0]] = column
            columns.append(column)
            if type(value) is not Unsigned:  # each of those is checked for its size
                self.seen[series.text, name, type(value)] = column
        return columns

    def _conflict(self, measurement: str, fields: list[tuple[str, Value]]) -> FieldConflict | None:
        fresh: dict[str, str] = {}
        for name, value in fields:
            kind = TYPE_NAMES[type(value)]
            known = self.fields.get((measurement, name))
            expected = fresh.setdefault(name, kind) if known is None else known[1]
            if expected != kind:
                return FieldConflict(
                    f'field type conflict: input field "{name}" on measurement "{measurement}" '
                    f"is type {kind}, already exists as type {expected}"
                )
            if kind == "unsigned" and int(value) > _SQLITE_INTEGER_MAX:
                return FieldConflict(f'field "{name}": the embedded store holds integers up to {_SQLITE_INTEGER_MAX}')
        return None

    def _insert_series(self, connection: sqlite3.Connection, series: SeriesKey) -> int:
        tags = orjson.dumps(dict(series.tags)).decode()
        cursor = connection.execute("INSERT INTO series (measurement, tags) VALUES (?, ?)", (series.measurement, tags))
        self.series[series.text] = series_id = int(cursor.lastrowid or 0)
        return series_id

    def _insert_field(self, connection: sqlite3.Connection, measurement: str, name: str, kind: str) -> tuple[int, str]:
        cursor = connection.execute(
            "INSERT INTO field (measurement, name, type) VALUES (?, ?, ?)", (measurement, name, kind)
        )
        known = (int(cursor.lastrowid or 0), kind)
        self.fields[measurement, name] = known
        return known


def newest_in(connection: sqlite3.Connection) -> Iterator[Newest]:
    """The newest sample of every column in the file: one index look-up for each pair of series and field."""
    pairs = connection.execute(
        "SELECT s.id, f.id, s.measurement, f.name, f.type, s.tags FROM series s JOIN field f USING (measurement)"
    )
    for series_id, field_id, measurement, name, kind, tags in pairs.fetchall():
        row = connection.execute(
            "SELECT time_ns, value FROM point WHERE series_id = ? AND field_id = ? ORDER BY time_ns DESC LIMIT 1",
            (series_id, field_id),
        ).fetchone()
        if row is not None:
            column = Column(series_id, field_id, measurement, name, kind, orjson.loads(tags))
            yield column, row[0], from_sqlite(kind, row[1])


def from_sqlite(kind: str, value: Value) -> Value:
    """A stored value in its field's type: SQLite has no booleans."""
    return bool(value) if kind == "boolean" else value
