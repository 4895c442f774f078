"""InfluxDB line protocol, parsed strictly: every good line is kept, every bad one is named with its number and reason.

Grammar: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/. What this parser accepts, InfluxDB 2.x
accepts with the same meaning (`tests/cloud/telemetry/test_lineprotocol_influxdb.py` holds it to a real server); a few
things that InfluxDB lets pass are refused here because nobody means them: control characters in names, lines and names
beyond `Limits`, backslashes in names that InfluxDB reads in two ways.

Two paths give the same result. The plain one splits at spaces and looks the series up in a table of those seen before;
it takes what a gateway sends. Whatever it does not recognise goes to the exact one, which knows escapes and quotes and
words the errors.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final

from andon_cloud.telemetry.store import LineError, Precision, Value

NS_PER_UNIT: Final = {Precision.NS: 1, Precision.US: 1_000, Precision.MS: 1_000_000, Precision.S: 1_000_000_000}

# InfluxDB's time range (models/time.go): int64 less the two values it keeps for itself on each side.
MIN_TIME_NS: Final = -(2**63) + 2
MAX_TIME_NS: Final = 2**63 - 2

_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**64)
_BOOLEANS: Final = dict.fromkeys(("t", "T", "true", "True", "TRUE"), True) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), False
)
_RESERVED_TAGS: Final = frozenset({"time", "_field", "_measurement"})

# A backslash escapes only the characters named after it; before any other it is itself. The possessive quantifiers
# (++) keep the time linear whatever the input.
_MEASUREMENT: Final = re.compile(r"(?:[^\\, \n]|\\[, ]|\\)++")
_KEY: Final = re.compile(r"(?:[^\\,= \n]|\\[, =]|\\)++")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SCALAR: Final = re.compile(r"[^, \n]++")
_FLOAT: Final = re.compile(r"-?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?")
_INTEGER: Final = re.compile(r"-?[0-9]++")
_TIMESTAMP: Final = re.compile(r"-?[0-9]++")
_SPACES: Final = re.compile(r" *+")
_END: Final = re.compile(r" *+(?=\n|\Z)")
_NAME_ESCAPE: Final = re.compile(r"\\([, =])")
# InfluxDB itself reads these differently in measurements, tags and fields, so nobody can mean them.
_AMBIGUOUS: Final = {
    "measurement": re.compile(r'\\[\\"=]'),
    "tag key": re.compile(r'\\[\\"]'),
    "tag value": re.compile(r'\\[\\"]'),
    "field key": re.compile(r'\\[\\"]'),
}
_STRING_ESCAPE: Final = re.compile(r'\\(["\\])')
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Unsigned(int):
    """An unsigned integer (`7u`): in InfluxDB another field type than a signed one (`7i`)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """A measurement and its tags, sorted by key. `text` is the same as one string: equal text, equal series."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    text: str


# Line number (from 1), series, fields in the order written, nanoseconds since the epoch. A tuple and not a class,
# because a class instance would cost a quarter of the whole time per line.
Point = tuple[int, SeriesKey, list[tuple[str, Value]], int]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one line may hold, in characters and counts."""

    line: int = 65_536
    name: int = 255
    tag_value: int = 1_024
    tags: int = 32
    fields: int = 256
    series_remembered: int = 100_000


@dataclass(slots=True)
class Parsed:
    """Good lines as points, bad ones as errors; both in the order of the body."""

    points: list[Point] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)


class _BadLineError(Exception):
    """A line cannot be read; the message says why."""


class LineParser:
    """Parses bodies; keeps the series and field names it has seen, so one parser per writer. Not thread-safe."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._series: dict[str, SeriesKey] = {}
        self._fields: set[str] = set()

    def parse(self, body: bytes, precision: Precision, now_ns: int) -> Parsed:
        """Read a line protocol body.

        Args:
            body: UTF-8 text; lines end with LF (InfluxDB refuses CR LF), empty lines and lines starting with `#` are skipped.
            precision: Unit of the timestamps.
            now_ns: Time of points without a timestamp, nanoseconds since the epoch.
        """
        # Bytes that are no UTF-8 become lone surrogates, so that only the lines that hold them are refused.
        text = body.decode("utf-8", "surrogateescape")
        parsed = Parsed()
        if '"' in text or "\\" in text:
            self._parse_exactly(text, precision, now_ns, parsed)
        else:
            self._parse_plainly(text, precision, now_ns, parsed)
        return parsed

    def _parse_plainly(self, text: str, precision: Precision, now_ns: int, parsed: Parsed) -> None:
        """Parse a text without quotes and backslashes: each LF ends a line."""
        unit = NS_PER_UNIT[precision]
        append = parsed.points.append
        known = self._series.get
        stamp_before, time_before = "", now_ns
        for number, line in enumerate(text.split("\n"), 1):
            head, _, rest = line.partition(" ")
            written, _, stamp = rest.partition(" ")
            series = known(head)
            if series is not None and (fields := self._plain_fields(written)) is not None:
                if stamp and stamp == stamp_before:
                    append((number, series, fields, time_before))
                    continue
                if _is_digits(stamp):
                    time_ns = int(stamp) * unit
                    if time_ns <= MAX_TIME_NS:
                        stamp_before, time_before = stamp, time_ns
                        append((number, series, fields, time_ns))
                        continue
            if line:
                self._parse_line(text=line, at=0, number=number, unit=unit, now_ns=now_ns, parsed=parsed)

    def _plain_fields(self, written: str) -> list[tuple[str, Value]] | None:
        """The fields of a line that has nothing special in it; None if the exact path must look."""
        if "," not in written:
            name, _, scalar = written.partition("=")
            value = _plain_value(scalar)
            return None if value is None or name not in self._fields else [(name, value)]
        fields: list[tuple[str, Value]] = []
        for part in written.split(","):
            name, _, scalar = part.partition("=")
            value = _plain_value(scalar)
            if value is None or name not in self._fields:
                return None
            fields.append((name, value))
        return fields if len(fields) <= self._limits.fields else None

    def _parse_exactly(self, text: str, precision: Precision, now_ns: int, parsed: Parsed) -> None:
        """Parse any text: a quoted string may hold LF, so lines are found while parsing."""
        unit = NS_PER_UNIT[precision]
        number, at = 1, 0
        while at < len(text):
            end = self._parse_line(text=text, at=at, number=number, unit=unit, now_ns=now_ns, parsed=parsed)
            number += text.count("\n", at, end + 1)
            at = end + 1

    def _parse_line(self, *, text: str, at: int, number: int, unit: int, now_ns: int, parsed: Parsed) -> int:
        """Parse the line that starts at `at`; returns where it ends.

        A bad line ends at the next LF even inside quotes, so an unclosed quote costs one line and not the rest.
        """
        start, end = at, text.find("\n", at)
        end = len(text) if end < 0 else end
        first = text[at:end].strip(" ")
        if not first or first[0] == "#":
            return end
        try:
            at = _SPACES.match(text, at).end()  # type: ignore[union-attr]  # matches the empty string too
            series, at = self._scan_series(text, at)
            fields, at = self._scan_fields(text, at)
            time_ns, at = _scan_time(text, at, unit, now_ns)
            self._check_length(at - start)
        except _BadLineError as error:
            parsed.errors.append(LineError(number, str(error), first[:200].encode("utf-8", "replace").decode()))
            return end
        parsed.points.append((number, series, fields, time_ns))
        return at

    def _check_length(self, length: int) -> None:
        if length > self._limits.line:
            raise _BadLineError(f"line longer than {self._limits.line} characters")

    def _scan_series(self, text: str, start: int) -> tuple[SeriesKey, int]:
        match = _MEASUREMENT.match(text, start)
        if match is None:
            raise _BadLineError("missing measurement")
        measurement, at = self._name(match[0], "measurement"), match.end()
        tags: dict[str, str] = {}
        while text[at : at + 1] == ",":
            key, value, at = self._scan_tag(text, at + 1)
            if key in tags:
                raise _BadLineError(f"duplicate tag {key!r}")
            tags[key] = value
            if len(tags) > self._limits.tags:
                raise _BadLineError(f"more than {self._limits.tags} tags")
        head = text[start:at]
        series = self._series.get(head)
        if series is None:
            series = series_key(measurement, tags)
            if len(self._series) >= self._limits.series_remembered:
                self._series.clear()
            self._series[head] = series
        return series, at

    def _scan_tag(self, text: str, at: int) -> tuple[str, str, int]:
        match = _KEY.match(text, at)
        if match is None or text[match.end() : match.end() + 1] != "=":
            raise _BadLineError("missing tag key" if match is None else "missing tag value")
        key = self._name(match[0], "tag key")
        if key in _RESERVED_TAGS:
            raise _BadLineError(f"tag key {key!r} is reserved")
        match = _KEY.match(text, match.end() + 1)
        if match is None:
            raise _BadLineError(f"missing tag value of {key!r}")
        return key, self._name(match[0], "tag value", self._limits.tag_value), match.end()

    def _scan_fields(self, text: str, at: int) -> tuple[list[tuple[str, Value]], int]:
        start = _SPACES.match(text, at).end()  # type: ignore[union-attr]  # matches the empty string too
        if start == at:
            raise _BadLineError("missing fields: expected a space and field=value after measurement and tags")
        at = start
        fields: list[tuple[str, Value]] = []
        while True:
            match = _KEY.match(text, at)
            if match is None or text[match.end() : match.end() + 1] != "=":
                raise _BadLineError("missing field key" if match is None else "missing field value")
            name = self._name(match[0], "field key")
            if name == "time":
                raise _BadLineError("field key 'time' is reserved")
            value, at = self._scan_value(text, match.end() + 1, name)
            if match[0] == name and len(self._fields) < self._limits.series_remembered:
                self._fields.add(name)
            fields.append((name, value))
            if len(fields) > self._limits.fields:
                raise _BadLineError(f"more than {self._limits.fields} fields")
            if text[at : at + 1] != ",":
                return fields, at
            at += 1

    def _scan_value(self, text: str, at: int, name: str) -> tuple[Value, int]:
        if text[at : at + 1] == '"':
            match = _STRING.match(text, at)
            if match is None:
                raise _BadLineError(f"unclosed quote in field {name!r}")
            written = match[1]
            if len(written) > self._limits.line:
                raise _BadLineError(f"string of field {name!r} longer than {self._limits.line} characters")
            if not written.isascii() and re.search("[\ud800-\udfff]", written):
                raise _BadLineError(f"string of field {name!r} is not UTF-8")
            return _STRING_ESCAPE.sub(r"\1", written), match.end()
        match = _SCALAR.match(text, at)
        if match is None:
            raise _BadLineError(f"missing value of field {name!r}")
        return _scalar(match[0], name), match.end()

    def _name(self, written: str, what: str, limit: int | None = None) -> str:
        name = written
        if "\\" in written:
            if match := _AMBIGUOUS[what].search(written):
                raise _BadLineError(f"{what} holds {match[0]}, which has no single meaning in InfluxDB")
            name = _NAME_ESCAPE.sub(r"\1", written)
        limit = limit or self._limits.name
        if len(name) > limit:
            raise _BadLineError(f"{what} longer than {limit} characters")
        if _UNPRINTABLE.search(name):
            raise _BadLineError(f"{what} holds a control character or is not UTF-8")
        return name


def series_key(measurement: str, tags: dict[str, str]) -> SeriesKey:
    """The canonical key of a series: tags sorted by key, text in line protocol's own escaping."""
    ordered = tuple(sorted(tags.items()))
    text = _escape(measurement) + "".join(f",{_escape(key)}={_escape(value)}" for key, value in ordered)
    return SeriesKey(measurement, ordered, text)


def _escape(name: str) -> str:
    return re.sub(r"([, =\\])", r"\\\1", name)


def _is_digits(written: str) -> bool:
    """ASCII digits only: `str.isdigit` alone also takes other scripts' digits."""
    return written.isdigit() and written.isascii()


def _plain_value(scalar: str) -> Value | None:
    """A number or boolean in its usual form; None if the exact path must look (which may still accept it)."""
    last = scalar[-1:]
    if last == "i":
        digits = scalar[:-1]
        # 18 digits always fit into 64 bits.
        if len(digits) <= 18 and _is_digits(digits[1:] if digits[:1] == "-" else digits):  # noqa: PLR2004  # said above
            return int(digits)
        return None
    # float() also reads "1_0", leading white space, "nan" and "infinity"; none of them passes these conditions.
    if last in "0123456789" and scalar[:1] in "-0123456789" and "_" not in scalar and scalar.isascii() and scalar:
        try:
            number = float(scalar)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return _BOOLEANS.get(scalar)


def _scalar(written: str, name: str) -> Value:
    if written in _BOOLEANS:
        return _BOOLEANS[written]
    suffix, digits = written[-1], written[:-1]
    if suffix in "iu" and _INTEGER.fullmatch(digits):
        # The length first: int() of a very long text is slow.
        number = int(digits) if len(digits) <= 20 else 2**64  # noqa: PLR2004  # digits of 2**64, or sign and 2**63
        if number not in (_INT64 if suffix == "i" else _UINT64):
            raise _BadLineError(f"field {name!r}: {written[:40]} is outside the range of a 64-bit integer")
        return number if suffix == "i" else Unsigned(number)
    if _FLOAT.fullmatch(written):
        value = float(written)
        if math.isfinite(value):
            return value
        raise _BadLineError(f"field {name!r}: {written[:40]} is outside the range of a 64-bit float")
    raise _BadLineError(
        f"field {name!r}: {written[:40]} is no float (1.5), integer (1i), unsigned (1u), boolean (true) or string"
    )


def _scan_time(text: str, at: int, unit: int, now_ns: int) -> tuple[int, int]:
    """The timestamp, or now where there is none, and the end of the line."""
    end = _END.match(text, at)
    if end:
        return now_ns, end.end()
    start = _SPACES.match(text, at).end()  # type: ignore[union-attr]  # matches the empty string too
    match = _TIMESTAMP.match(text, start)
    if start == at or match is None:
        raise _BadLineError(f"bad timestamp: expected a space and an integer, found {text[at : at + 20]!r}")
    end = _END.match(text, match.end())
    if end is None:
        raise _BadLineError(f"text after the timestamp: {text[match.end() : match.end() + 20]!r}")
    time_ns = int(match[0]) * unit if match.end() - start <= 20 else MAX_TIME_NS + 1  # noqa: PLR2004  # int64's digits
    if not MIN_TIME_NS <= time_ns <= MAX_TIME_NS:
        raise _BadLineError("timestamp outside InfluxDB's range (years 1677 to 2262): check the precision")
    return time_ns, end.end()
