"""What Grafana does between a panel and InfluxDB: fills in variables, and reads the answer as data frames.

Written after Grafana's documentation of Flux variables and variable formats; the rules that matter here:

- `${name:regex}`: one value is escaped for a regular expression, several become `(a|b)`; "All" with a custom all value is that
  value, untouched. `${name}` of several values becomes `{a,b}`.
- In the backend, whatever name stands before the dot, `.timeRangeStart` and `.timeRangeStop` become RFC 3339 times,
  `.windowPeriod` the interval as a Go duration, `.defaultBucket` and `.organization` quoted names.
- A table with `_time` and `_value` is a time series: its group key's columns are labels, `_field` names the value.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from influxdb_server import InfluxServer

ALL = "$__all"

_TEMPLATE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}")
_FLUX = re.compile(r"([a-zA-Z]+)\.([a-zA-Z]+)")
_NUMBERS = {"long": int, "unsignedLong": int, "double": float}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose in a dashboard variable."""

    values: Sequence[str]
    all_value: str | None = None

    def formatted(self, style: str | None) -> str:
        """The text that replaces the variable."""
        if list(self.values) == [ALL]:
            assert self.all_value is not None, "without a custom all value Grafana would list the values"
            return self.all_value
        if style == "regex":
            escaped = [re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", value) for value in self.values]
            return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
        assert style is None, f"format {style} is not known here"
        return self.values[0] if len(self.values) == 1 else "{" + ",".join(self.values) + "}"


@dataclass(frozen=True, slots=True)
class Period:
    """The dashboard's time range, and the interval that Grafana derives from it and the panel's width."""

    start: datetime
    stop: datetime
    points: int = 1000

    def interval(self, minimum: timedelta) -> timedelta:
        """The window, not below the panel's minimum."""
        return max((self.stop - self.start) / self.points, minimum)


@dataclass(frozen=True, slots=True)
class Frame:
    """One data frame: columns by name, and the labels of a time series."""

    columns: dict[str, list[Any]]
    labels: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """The frame row by row."""
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]


def template(flux: str, choices: Mapping[str, Choice]) -> str:
    """Replace dashboard variables as the front end does; built-in `$__...` names are left to the backend."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return match[0] if name.startswith("__") else choices[name].formatted(match[3])

    return _TEMPLATE.sub(value, flux)


def go_duration(interval: timedelta) -> str:
    """A duration as Go prints it, which Flux reads: `5s`, `1m0s`, `1h0m0s`, `3.6s` in milliseconds."""
    milliseconds = round(interval / timedelta(milliseconds=1))
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def macros(flux: str, period: Period, minimum: timedelta, bucket: str, org: str) -> str:
    """Replace the `v.` names as the backend does."""
    known = {
        "timeRangeStart": _rfc3339(period.start),
        "timeRangeStop": _rfc3339(period.stop),
        "windowPeriod": go_duration(period.interval(minimum)),
        "defaultBucket": f'"{bucket}"',
        "bucket": f'"{bucket}"',
        "organization": f'"{org}"',
    }
    return _FLUX.sub(lambda match: known.get(match[2], match[0]), flux)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def query(server: InfluxServer, flux: str) -> list[Frame]:
    """Ask InfluxDB and read the answer as Grafana does.

    Raises:
        AssertionError: InfluxDB refuses the query, with its message.
    """
    response = httpx.post(
        f"{server.url}/api/v2/query",
        params={"org": server.org},
        headers={"Authorization": f"Token {server.token}", "Accept": "application/csv"},
        json={
            "query": flux,
            "dialect": {"annotations": ["datatype", "group", "default"], "dateTimeFormat": "RFC3339Nano"},
        },
        timeout=30,
    )
    assert response.status_code == 200, f"{response.text}\n{flux}"
    return [frame for block in re.split(r"\r?\n\r?\n(?=#)", response.text.strip()) if block for frame in _frames(block)]


def _frames(block: str) -> list[Frame]:
    lines = list(csv.reader(io.StringIO(block)))
    notes = {line[0]: line[1:] for line in lines if line and line[0].startswith("#")}
    body = [line for line in lines if line and not line[0].startswith("#")]
    names = body[0][1:]
    if "error" in names:
        raise AssertionError(f"InfluxDB failed while answering: {body[1]}")
    types, groups, defaults = notes["#datatype"], notes["#group"], notes["#default"]
    tables: dict[str, list[dict[str, Any]]] = {}
    for line in body[1:]:
        texts = [text or default for text, default in zip(line[1:], defaults, strict=True)]
        row = {name: _value(text, kind) for name, text, kind in zip(names, texts, types, strict=True)}
        tables.setdefault(str(row["table"]), []).append(row)
    keys = [name for name, group in zip(names, groups, strict=True) if group == "true"]
    return [_frame(rows, [name for name in names if name not in {"result", "table"}], keys) for rows in tables.values()]


def _frame(rows: list[dict[str, Any]], names: list[str], keys: list[str]) -> Frame:
    if "_time" in names and "_value" in names:
        labels = {key: str(rows[0][key]) for key in keys if not key.startswith("_")}
        columns = {"Time": [row["_time"] for row in rows], rows[0]["_field"]: [row["_value"] for row in rows]}
        return Frame(columns, labels)
    return Frame({name: [row[name] for row in rows] for name in names})


def _value(text: str, kind: str) -> Any:
    if not text:
        return "" if kind == "string" else None
    if kind.startswith("dateTime"):
        return datetime.fromisoformat(text)
    if kind == "boolean":
        return bool(json.loads(text))
    return _NUMBERS[kind](text) if kind in _NUMBERS else text


def seconds(interval: str) -> int:
    """A panel's minimum interval such as `5s` or `1m` in seconds."""
    return int(interval[:-1]) * {"s": 1, "m": 60, "h": 3600}[interval[-1]]
