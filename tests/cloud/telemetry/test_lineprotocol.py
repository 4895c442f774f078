"""The line protocol parser against tables, against influxdb-client's serialiser, and against itself."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client.client.write import point as influxdb_client_point
from influxdb_client.domain.write_precision import WritePrecision

from andon_cloud.telemetry.lineprotocol import Limits, LineParser, Parsed, Point, Unsigned
from andon_cloud.telemetry.store import Precision

# influxdb-client's own methods carry no types.
ClientPoint: Any = influxdb_client_point.Point
NOW = 1_764_000_000_000_000_000


def parse(text: str | bytes, precision: Precision = Precision.NS) -> Parsed:
    return LineParser().parse(text.encode() if isinstance(text, str) else text, precision, NOW)


def only(text: str) -> tuple[str, dict[str, str], dict[str, object], int]:
    parsed = parse(text)
    assert parsed.errors == []
    ((_, series, fields, time_ns),) = parsed.points
    return series.measurement, dict(series.tags), dict(fields), time_ns


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m v=1 5", ("m", {}, {"v": 1.0}, 5)),
        ("m v=1", ("m", {}, {"v": 1.0}, NOW)),
        ("m,b=2,a=1 v=1,w=2i,x=3u 5", ("m", {"a": "1", "b": "2"}, {"v": 1.0, "w": 2, "x": 3}, 5)),
        ("  m   v=1   5  ", ("m", {}, {"v": 1.0}, 5)),
        ("m v=1 -5", ("m", {}, {"v": 1.0}, -5)),
        ("m a=t,b=F,c=true,d=FALSE,e=True 5", ("m", {}, {"a": True, "b": False, "c": True, "d": False, "e": True}, 5)),
        ("m v=-1.5e-3 5", ("m", {}, {"v": -0.0015}, 5)),
        ("m v=1. 5", ("m", {}, {"v": 1.0}, 5)),
        ("m v=.5 5", ("m", {}, {"v": 0.5}, 5)),
        ("m v=007i 5", ("m", {}, {"v": 7}, 5)),
        ("m v=-9223372036854775808i 5", ("m", {}, {"v": -(2**63)}, 5)),
        ("m v=18446744073709551615u 5", ("m", {}, {"v": 2**64 - 1}, 5)),
        (r"a\ b\,c=d,k\ 1=v\,\=\  f\,\=\ =1 5", ("a b,c=d", {"k 1": "v,= "}, {"f,= ": 1.0}, 5)),
        (r"m,p=C:\dir v=1 5", ("m", {"p": "C:\\dir"}, {"v": 1.0}, 5)),
        (r'm s="a \"b\" \\ \n, =" 5', ("m", {}, {"s": r'a "b" \ \n, ='}, 5)),
        ('m s="" 5', ("m", {}, {"s": ""}, 5)),
        ('m s="two\nlines",v=1 5', ("m", {}, {"s": "two\nlines", "v": 1.0}, 5)),
        ('"m",t="x" "f"=1 5', ('"m"', {"t": '"x"'}, {'"f"': 1.0}, 5)),
        ("wärme,ort=Süd °C=1 5", ("wärme", {"ort": "Süd"}, {"°C": 1.0}, 5)),
    ],
)
def test_good_lines(line: str, expected: object) -> None:
    assert only(line) == expected


def test_types_are_kept_apart() -> None:
    _, _, fields, _ = only('m f=1,i=1i,u=1u,b=t,s="1"')
    assert [type(value) for value in fields.values()] == [float, int, Unsigned, bool, str]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("m", "missing fields"),
        ("m ", "missing field key"),
        (",a=1 v=1", "missing measurement"),
        ("m, v=1", "missing tag key"),
        ("m,a v=1", "missing tag value"),
        ("m,a= v=1", "missing tag value"),
        ("m,=1 v=1", "missing tag key"),
        ("m,a=1,a=2 v=1", "duplicate tag 'a'"),
        ("m,a=b=c v=1", "missing fields"),
        ("m,time=1 v=1", "reserved"),
        ("m time=1", "reserved"),
        ("m v", "missing field value"),
        ("m v=", "missing value of field 'v'"),
        ("m =1", "missing field key"),
        ("m v=1,", "missing field key"),
        ("m v=1,,w=1", "missing field key"),
        ("m v=abc", "no float"),
        ("m v=nan", "no float"),
        ("m v=inf", "no float"),
        ("m v=-Infinity", "no float"),
        ("m v=1_0", "no float"),
        ("m v=1_0i", "no float"),
        ("m v=+1", "no float"),
        ("m v=0x10", "no float"),
        ("m v=٣", "no float"),
        ("m v=\t1", "no float"),
        ("m v=1.5i", "no float"),
        ("m v=-1u", "outside the range"),
        ("m v=tRUE", "no float"),
        ("m v=1e400", "outside the range"),
        ("m v=9223372036854775808i", "outside the range"),
        ("m v=-9223372036854775809i", "outside the range"),
        ("m v=18446744073709551616u", "outside the range"),
        ("m v=" + "9" * 5000 + "i", "outside the range"),
        ('m s="open', "unclosed quote"),
        ('m s="a"b', "bad timestamp"),
        ("m v=1 x", "bad timestamp"),
        ("m v=1 1.5", "text after the timestamp"),
        ("m v=1 1 1", "text after the timestamp"),
        ("m v=1 1\r", "text after the timestamp"),
        ("m v=1 1_0", "text after the timestamp"),
        ("m v=1 ٣", "bad timestamp"),
        ("m v=1 9223372036854775807", "range"),
        ("m v=1 -9223372036854775807", "range"),
        ("m v=1 99999999999999999999999999", "range"),
        ("m\tx v=1", "control character"),
        ("m,a=\\\\ v=1", "no single meaning"),
        ("m a\\\\b=1", "no single meaning"),
        ('m a\\"b=1', "no single meaning"),
        ("m\\=n v=1", "no single meaning"),
        ("m,a=\x00 v=1", "control character"),
    ],
)
def test_bad_lines_say_why(line: str, reason: str) -> None:
    parsed = parse(f"ok v=1 1\n{line}\nok v=2 2")
    assert [(error.line, reason in error.reason) for error in parsed.errors] == [(2, True)], parsed.errors
    assert [(number, time_ns) for number, _, _, time_ns in parsed.points] == [(1, 1), (3, 2)]


def test_bytes_that_are_no_utf8_cost_their_own_line_only() -> None:
    parsed = parse(b'ok v=1 1\nm\xff v=1\nm s="\xff"\nok v=2 2')
    assert [error.line for error in parsed.errors] == [2, 3]
    assert all("UTF-8" in error.reason for error in parsed.errors)
    assert [number for number, *_ in parsed.points] == [1, 4]
    for error in parsed.errors:
        error.text.encode()


def test_comments_and_empty_lines_are_skipped_and_counted() -> None:
    parsed = parse("# one\n\n   \nm v=1 1\n  # m v=2 2\nbad")
    assert [number for number, *_ in parsed.points] == [4]
    assert [error.line for error in parsed.errors] == [6]


def test_line_numbers_count_the_lines_inside_strings() -> None:
    parsed = parse('m s="a\nb\nc" 1\nbad\nm v=1 2')
    assert [number for number, *_ in parsed.points] == [1, 5]
    assert [error.line for error in parsed.errors] == [4]


def test_an_unclosed_quote_costs_one_line() -> None:
    parsed = parse('m s="open 1\nm v=1 2\nm s="closed" 3\nm v=1 4')
    assert [error.line for error in parsed.errors] == [1]
    assert [number for number, *_ in parsed.points] == [2, 3, 4]


@pytest.mark.parametrize(("precision", "unit"), [("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_precision_is_the_unit_of_the_timestamp(precision: str, unit: int) -> None:
    parser = LineParser()
    for _ in range(2):
        parsed = parser.parse(b"m v=1 12\nm v=1", Precision(precision), NOW)
        assert [time_ns for *_, time_ns in parsed.points] == [12 * unit, NOW]
    overflow = parser.parse(b"m v=1 9223372036854775806", Precision(precision), NOW)
    assert len(overflow.errors) == (unit > 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("m" * 11 + " v=1", "measurement longer than 10"),
        ("m,a=" + "x" * 21 + " v=1", "tag value longer than 20"),
        ("m," + "a" * 11 + "=1 v=1", "tag key longer than 10"),
        ("m,a=1,b=1,c=1 v=1", "more than 2 tags"),
        ("m " + "v" * 11 + "=1", "field key longer than 10"),
        ("m " + ",".join(f"f{n}=1" for n in range(4)), "more than 3 fields"),
        ('m s="' + "x" * 101 + '"', "longer than 100"),
        ("m a=" + "0" * 110 + "1", "line longer than 100"),
    ],
)
def test_limits(line: str, reason: str) -> None:
    parser = LineParser(Limits(line=100, name=10, tag_value=20, tags=2, fields=3))
    warm = b"m f0=1,f1=1,f2=1\nm f3=1,v=1"
    for _ in range(2):
        parsed = parser.parse(warm + b"\n" + line.encode(), Precision.NS, NOW)
        assert [reason in error.reason for error in parsed.errors] == [True], parsed.errors


def test_what_is_remembered_stays_bounded() -> None:
    parser = LineParser(Limits(series_remembered=10))
    text = "\n".join(f"m,a={n} f{n}=1 1" for n in range(1000)).encode()
    assert len(parser.parse(text, Precision.NS, NOW).points) == 1000
    assert len(parser._series) <= 10
    assert len(parser._fields) <= 10


@pytest.mark.parametrize(
    "body",
    [
        'm s="\n' * 20_000,
        '",b=" f=",c="\n' * 20_000,
        'm a="' + '",b="' * 50_000,
        "m a=1" + ",a=1" * 100_000,
        "m" + ",a=1" * 100_000 + " v=1",
        "\\" * 300_000,
        "m," + "\\=" * 150_000,
        "m v=" + "1" * 300_000,
        'm s="' + '\\"' * 150_000,
    ],
    ids=["quotes", "open strings", "strings", "fields", "tags", "backslashes", "escapes", "digits", "escaped quotes"],
)
def test_hostile_bodies_take_linear_time(body: str) -> None:
    start = time.process_time()
    parse(body)
    assert time.process_time() - start < 2.0


# --- properties ------------------------------------------------------------------------------------------------

_CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
# influxdb-client writes a backslash as it is, so one before a special character or at the end is ambiguous in the
# protocol itself; names with those cannot be written by anybody.
_NAMES = (
    st.text(st.one_of(st.sampled_from(' ,="\\#ab'), _CHARACTERS), min_size=1, max_size=12)
    .filter(lambda name: not any(f"\\{special}" in name for special in ("\\", ",", "=", " ", '"')))
    .filter(lambda name: not name.endswith("\\") and name not in ("time", "_field", "_measurement"))
)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
# A string may not end in what the serialiser leaves ambiguous either; it escapes quotes and backslashes itself.
_STRINGS = st.text(st.one_of(st.sampled_from('\n ,="\\'), _CHARACTERS), max_size=20)
_FIELDS = st.dictionaries(_NAMES, st.one_of(_FLOATS, _INTEGERS, st.booleans(), _STRINGS), min_size=1, max_size=5)
_TIMES = st.integers(-(2**63) + 2, 2**63 - 2)


@given(
    measurement=_NAMES.filter(lambda name: not name.startswith("#")),
    tags=st.dictionaries(_NAMES, _NAMES, max_size=5),
    fields=_FIELDS,
    time_ns=_TIMES,
)
def test_what_influxdb_client_writes_is_read_back(
    measurement: str, tags: dict[str, str], fields: dict[str, object], time_ns: int
) -> None:
    point = ClientPoint(measurement)
    for key, value in tags.items():
        point.tag(key, value)
    for key, field in fields.items():
        point.field(key, field)
    line = point.time(time_ns, WritePrecision.NS).to_line_protocol()
    measured, read_tags, read_fields, read_time = only(line)
    assert (measured, read_tags, read_time) == (measurement, tags, time_ns)
    assert read_fields == fields
    assert [type(value) for value in read_fields.values()] == [type(fields[name]) for name in read_fields]


_PIECES = st.sampled_from(
    ["m", ",", "=", " ", "a", "b", "1", "-1", "1i", "2u", "1.5", "1e5", "t", "false", '"', '"x"', "\\", "\n", "#", "\t", "٣",
     "_", "\r", "nan", "m,a=b", " v=1", " 5", "v=1,w=2i", "\nm v=1 5\n", "\nm,a=b v=2 6\n"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=25).map("".join), st.sampled_from(Precision))
def test_the_plain_and_the_exact_path_agree(text: str, precision: Precision) -> None:
    parser = LineParser()
    exact, plain = Parsed(), Parsed()
    for _ in range(2):  # the second time the series are known, so the plain path takes what it can
        exact, plain = Parsed(), Parsed()
        parser._parse_exactly(text, precision, NOW, exact)
        if '"' not in text and "\\" not in text:
            parser._parse_plainly(text, precision, NOW, plain)
            assert comparable(plain.points) == comparable(exact.points)
            assert plain.errors == exact.errors


def comparable(points: list[Point]) -> list[object]:
    return [(number, series, repr(fields), time_ns) for number, series, fields, time_ns in points]


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_apart_without_a_crash(body: bytes) -> None:
    parsed = parse(body)
    lines = body.split(b"\n")
    numbers = [number for number, *_ in parsed.points] + [error.line for error in parsed.errors]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number <= len(lines) for number in numbers)
    assert all(
        math.isfinite(value) for *_, fields, _ in parsed.points for _, value in fields if isinstance(value, float)
    )
