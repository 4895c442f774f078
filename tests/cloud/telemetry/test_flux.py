"""Flux text: nothing that comes from outside can leave its string."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from andon_cloud.telemetry.flux import latest_query, range_query, string_literal
from andon_cloud.telemetry.store import Aggregate, RangeQuery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from influxdb_server import InfluxServer

# No carriage return and NUL: InfluxDB's CSV answer drops the first and cannot show the second; both are tested below.
_TEXTS = st.text(
    st.one_of(st.sampled_from('"\\${}|>()\n \tx0'), st.characters(codec="utf-8", exclude_categories=["Cs"])),
    max_size=30,
).map(lambda text: text.replace("\r", "").replace("\0", ""))


@pytest.fixture(scope="module")
def client(influxdb_server: InfluxServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Token {influxdb_server.token}", "Content-Type": "application/vnd.flux"}
    params = {"org": influxdb_server.org}
    with httpx.Client(base_url=influxdb_server.url, headers=headers, params=params, timeout=30) as opened:
        yield opened


def run(client: httpx.Client, flux: str) -> list[list[str]]:
    answer = client.post("/api/v2/query", content=flux.encode())
    assert answer.status_code == 200, answer.text
    return [row for row in csv.reader(io.StringIO(answer.text, newline="")) if row]


@settings(max_examples=150, deadline=None)
@given(text=_TEXTS)
@example(text='" or true or r._measurement == "')
@example(text="${die(msg: string(v: 1))}")
@example(text="\\${1+1}")
@example(text="\\")
@example(text='\\" + "')
def test_a_literal_means_its_text_in_a_real_influxdb(client: httpx.Client, text: str) -> None:
    flux = f'import "array"\narray.from(rows: [{{v: "<" + {string_literal(text)} + ">"}}])'
    header, row = run(client, flux)
    assert row[header.index("v")].replace("\r\n", "\n") == f"<{text}>"


@pytest.mark.parametrize("text", ["\r", "\r\n", "\0", "a\rb\0c", "\x7f"])
def test_control_characters_keep_their_number(client: httpx.Client, text: str) -> None:
    flux = f'import "array"\nimport "strings"\narray.from(rows: [{{v: strings.strlen(v: {string_literal(text)})}}])'
    header, row = run(client, flux)
    assert row[header.index("v")] == str(len(text))


@given(text=_TEXTS)
def test_a_literal_has_no_unescaped_quote_and_no_expression(text: str) -> None:
    inside = string_literal(text)[1:-1]
    assert '"' not in inside
    assert "$" not in inside
    assert inside.isprintable() or not text.isprintable()


def test_queries_are_what_influxdb_can_push_down() -> None:
    assert latest_query("b", "m", {"machine": "press-7"}).splitlines() == [
        'from(bucket: "b")',
        "  |> range(start: time(v: -9223372036854775806), stop: time(v: 9223372036854775806))",
        '  |> filter(fn: (r) => r._measurement == "m" and r["machine"] == "press-7")',
        "  |> last()",
    ]
    query = RangeQuery("m", 1, 2, ("a", "b"), {}, 10_000, Aggregate.MAX)
    assert range_query("b", query).splitlines() == [
        'from(bucket: "b")',
        "  |> range(start: time(v: 1000000), stop: time(v: 2000000))",
        '  |> filter(fn: (r) => r._measurement == "m" and (r._field == "a" or r._field == "b"))',
        '  |> aggregateWindow(every: 10000ms, fn: max, createEmpty: false, timeSrc: "_start")',
    ]
