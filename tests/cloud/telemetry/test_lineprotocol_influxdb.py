"""What our parser accepts, a real InfluxDB accepts with the same meaning."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from influxdb_client.client.influxdb_client import InfluxDBClient

from andon_cloud.telemetry.flux import string_literal
from andon_cloud.telemetry.lineprotocol import LineParser
from andon_cloud.telemetry.store import Precision, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from influxdb_server import InfluxServer

_PIECES = st.sampled_from(
    ["m", "m,a=b", ",c=d", ",", "=", " ", "  ", "v=1", "a", "1", "-", "1i", "-3i", "2u", "1.5", ".5", "1.", "1e5", "1e", "E-3", "t",
     "false", "TRUE", '"', '"x"', '"y,= z"', "\\", "\\ ", "\\,", "\\=", '\\"', "\\\\", "\n", "#", "ü", " 5", "-5", "00", "time"]
)  # fmt: skip
_LINES = st.one_of(
    st.lists(_PIECES, min_size=1, max_size=12).map("".join),
    st.lists(_PIECES, max_size=6).map(lambda pieces: "m v=" + "".join(pieces)),
    st.lists(_PIECES, max_size=6).map(lambda pieces: "m," + "".join(pieces) + " v=1"),
)
_DIFFERENTIAL = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def client(influxdb_server: InfluxServer) -> Iterator[httpx.Client]:
    params = {"org": influxdb_server.org, "bucket": influxdb_server.create_bucket(), "precision": "ns"}
    headers = {"Authorization": f"Token {influxdb_server.token}"}
    with httpx.Client(base_url=influxdb_server.url, params=params, headers=headers, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
def reader(influxdb_server: InfluxServer) -> Iterator[InfluxDBClient]:
    with InfluxDBClient(influxdb_server.url, influxdb_server.token, org=influxdb_server.org) as opened:
        yield opened


@_DIFFERENTIAL
@given(text=_LINES)
@example(text="m v=1 5 ")
@example(text="m v=1  5")
@example(text="m,a=\\\\ v=1")
@example(text='m v="\\\\"')
@example(text="m a=1,a=2")
@example(text="m v=1 00005")
@example(text="m\\ v=1")
def test_influxdb_accepts_what_we_accept(client: httpx.Client, text: str) -> None:
    parsed = LineParser().parse(text.encode(), Precision.NS, 0)
    if parsed.errors:
        return
    answer = client.post("/api/v2/write", content=text.encode())
    # 422 is about another type of an earlier line's field; a line that cannot be read is 400.
    assert answer.status_code in (204, 422), (text, answer.text)


def test_we_accept_what_influxdb_documents(client: httpx.Client) -> None:
    """The examples of InfluxDB's own reference page (line protocol, InfluxDB v2), each accepted by both."""
    lines = [
        'myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue" 1556813561098000000',
        "myMeasurement fieldKey=1.0",
        "myMeasurement fieldKey=1",
        "myMeasurement fieldKey=-1.234456e+78",
        "myMeasurement2 fieldKey=1i",
        "myMeasurement2 fieldKey=12485903i",
        "myMeasurement3 fieldKey=1u",
        'myMeasurement4 fieldKey="this is a string"',
        "myMeasurement5 fieldKey=true",
        "my\\ Measurement fieldKey=1.0",
        'myMeasurement6 fieldKey="\\"Hello World\\""',
        "myMeasurement7,tag\\ Key1=tag\\ Value1,tag\\ Key2=tag\\ Value2 fieldKey=100",
        'myMeasurement8,tagKey=\U0001f36d fieldKey="Launch \U0001f680" 1556813561098000000',
    ]
    for line in lines:
        assert client.post("/api/v2/write", content=line.encode()).status_code == 204, line
        assert LineParser().parse(line.encode(), Precision.NS, 0).errors == [], line


_OWN = {"result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"}
_SERIAL = count()
_NAMES = st.text(st.sampled_from(' ,=\\"#${}üab'), min_size=1, max_size=6).filter(lambda name: not name.endswith("\\"))
# No carriage return: InfluxDB's CSV answers drop it.
_STRINGS = st.text(st.sampled_from(' ,=\\"#${}üab\n\t'), max_size=8)


def _escaped(name: str, special: str = ", =") -> str:
    return "".join(f"\\{character}" if character in special else character for character in name)


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=_NAMES,
    tags=st.dictionaries(_NAMES, _NAMES, max_size=3),
    fields=st.dictionaries(
        _NAMES,
        st.one_of(
            _STRINGS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_influxdb_reads_the_same_meaning(
    client: httpx.Client, reader: InfluxDBClient, name: str, tags: dict[str, str], fields: dict[str, Value]
) -> None:
    measurement = f"meaning{next(_SERIAL)}{_escaped(name, ', ')}"
    head = "".join(f",{_escaped(key)}={_escaped(value)}" for key, value in tags.items())
    line = (
        f"{measurement}{head} "
        + ",".join(f"{_escaped(name)}={_written(value)}" for name, value in fields.items())
        + " 5"
    )
    parsed = LineParser().parse(line.encode(), Precision.NS, 0)
    if parsed.errors:
        return
    assert client.post("/api/v2/write", content=line.encode()).status_code == 204
    ((_, series, ours, time_ns),) = parsed.points
    bucket = client.params["bucket"]
    flux = f"from(bucket: {string_literal(bucket)}) |> range(start: 0) |> filter(fn: (r) => r._measurement == {string_literal(series.measurement)})"
    theirs: dict[str, Value] = {}
    for table in reader.query_api().query(flux):
        (record,) = table.records
        value = record["_value"]
        # InfluxDB's CSV writes a line feed as CR LF; influxdb-client reads the empty string as None.
        theirs[record["_field"]] = (
            value.replace("\r\n", "\n") if isinstance(value, str) else "" if value is None else value
        )
        assert {key: tag for key, tag in record.values.items() if key not in _OWN} == dict(series.tags)
    assert theirs == dict(ours)
    assert time_ns == 5
