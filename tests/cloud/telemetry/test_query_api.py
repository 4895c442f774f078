"""GET /api/v1/telemetry/...: JSON, CSV, and clear refusals."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
from cloud.telemetry.http_app import NOW_MS, build, connect

from andon_cloud.telemetry.query_api import QueryLimits
from andon_cloud.telemetry.store import Precision, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from andon_cloud.telemetry.embedded import EmbeddedStore

MINUTE = 60_000
TAGS = "area=a1,channel={channel},line=l1,machine={machine},node={machine},site=demo"
RANGE = "/api/v1/telemetry/range"
LATEST = "/api/v1/telemetry/latest"


@pytest.fixture
async def client(embedded: EmbeddedStore) -> AsyncIterator[httpx.AsyncClient]:
    lines = [
        f"temperature,{TAGS.format(channel=0, machine=machine)} celsius={n}.5 {NOW_MS - 10 * MINUTE + n * 30_000}"
        for machine in ("press-7", "saw-1")
        for n in range(10)
    ]
    lines.append(
        f'temperature,{TAGS.format(channel=0, machine="press-7")} fault="crc, ""x" {NOW_MS - MINUTE}'.replace(
            '""', '\\"'
        )
    )
    lines.append(f"relay,{TAGS.format(channel=1, machine='press-7')},extra=e on=true {NOW_MS - MINUTE}")
    await embedded.write("\n".join(lines).encode(), Precision.MS)
    async with connect(build(embedded, query_limits=QueryLimits(samples=20, fields=2))) as opened:
        yield opened


async def get(client: httpx.AsyncClient, url: str, **params: Any) -> Any:
    answer = await client.get(url, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["series"]


async def test_latest_selects_by_measurement_and_tags(client: httpx.AsyncClient) -> None:
    found = await get(client, LATEST, measurement="temperature", machine="press-7")
    tags = {"site": "demo", "area": "a1", "line": "l1", "machine": "press-7", "node": "press-7", "channel": "0"}
    assert sorted(found, key=lambda series: str(series["field"])) == [
        {"measurement": "temperature", "field": "celsius", "tags": tags, "samples": [[NOW_MS - 330_000, 9.5]]},
        {"measurement": "temperature", "field": "fault", "tags": tags, "samples": [[NOW_MS - MINUTE, 'crc, "x']]},
    ]
    assert await get(client, LATEST, measurement="temperature", node="nobody") == []
    assert (await get(client, LATEST, measurement="relay", channel="1"))[0]["samples"] == [[NOW_MS - MINUTE, True]]


async def test_range_raw_and_windowed(client: httpx.AsyncClient) -> None:
    question = {"measurement": "temperature", "machine": "saw-1", "start": "-10m"}
    (raw,) = await get(client, RANGE, **question)
    assert raw["samples"] == [[NOW_MS - 10 * MINUTE + n * 30_000, n + 0.5] for n in range(10)]
    (windowed,) = await get(client, RANGE, **question, window="1m", aggregate="max")
    assert windowed["samples"] == [[NOW_MS - (10 - n) * MINUTE, 2 * n + 1.5] for n in range(5)]


async def test_range_takes_every_form_of_time(client: httpx.AsyncClient) -> None:
    question = {"measurement": "temperature", "machine": "saw-1", "fields": "celsius"}
    # 1764000000 s is 2025-11-24T16:00:00Z (date -u -d @1764000000).
    forms = [
        ("-10m", "-9m"),
        ("2025-11-24T15:50:00Z", "2025-11-24T16:51:00+01:00"),
        (str(NOW_MS - 600_000), str(NOW_MS - 540_000)),
    ]
    answers = [await get(client, RANGE, **question, start=start, stop=stop) for start, stop in forms]
    assert [len(series["samples"]) for (series,) in answers] == [2, 2, 2]
    assert answers[0] == answers[1] == answers[2]


async def test_csv_has_a_header_and_quotes_what_needs_it(client: httpx.AsyncClient) -> None:
    answer = await client.get(RANGE, params={"measurement": "temperature", "start": "-2m", "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert header == ["time_ms", "measurement", "field", "site", "area", "line", "machine", "node", "channel", "value"]
    assert rows == [
        [str(NOW_MS - MINUTE), "temperature", "fault", "demo", "a1", "l1", "press-7", "press-7", "0", 'crc, "x']
    ]
    relay = await client.get(RANGE, params={"measurement": "relay", "start": "-2m", "format": "csv"})
    header, row = csv.reader(io.StringIO(relay.text, newline=""))
    assert dict(zip(header, row, strict=True))["extra"] == "e"
    assert row[-1] == "true"


async def test_csv_of_nothing_is_its_header(client: httpx.AsyncClient) -> None:
    answer = await client.get(RANGE, params={"measurement": "nothing", "start": "-2m", "format": "csv"})
    assert answer.text == "time_ms,measurement,field,site,area,line,machine,node,channel,value\r\n"


async def test_a_long_csv_comes_whole(embedded: EmbeddedStore) -> None:
    body = "\n".join(f"m v={n}i {NOW_MS - 10_000 + n}" for n in range(5_000))
    await embedded.write(body.encode(), Precision.MS)
    async with connect(build(embedded)) as client:
        answer = await client.get(RANGE, params={"measurement": "m", "start": "-1m", "format": "csv"})
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert [row[-1] for row in rows[1:]] == [str(n) for n in range(5_000)]


@pytest.mark.parametrize(
    ("params", "status", "detail"),
    [
        ({"start": "yesterday"}, 400, "start: expected a time such as"),
        ({"start": "-15m", "stop": "later"}, 400, "stop: expected a time such as"),
        ({"start": "2026-01-31T06:00:00 01:00"}, 400, "%2B"),
        ({"start": "now"}, 400, "start must be before stop"),
        ({"start": "-15m", "window": "1"}, 400, "window: expected a duration such as 10s"),
        ({"start": "-15m", "window": "0s"}, 400, "window: expected a duration such as 10s"),
        ({"start": "-15m", "window": "1s"}, 400, "more than 20 windows"),
        ({"start": "-15m", "fields": "a,b,c"}, 400, "at most 2 names"),
        ({"start": "-15m"}, 400, "more than 20 samples"),
        ({"start": "-15m", "aggregate": "median"}, 422, "aggregate"),
        ({"start": "-15m", "format": "xml"}, 422, "format"),
        ({}, 422, "start"),
        ({"start": "-15m", "measurement": ""}, 422, "measurement"),
    ],
)
async def test_refusals_are_problem_details(
    client: httpx.AsyncClient, params: dict[str, str], status: int, detail: str
) -> None:
    answer = await client.get(RANGE, params={"measurement": "temperature"} | params)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


async def test_a_store_that_is_away_is_503() -> None:
    class Away:
        """Stands in for a store whose server is away."""

        async def latest(self, *_arguments: object) -> None:
            raise StoreUnavailableError("away", retry_after_s=3)

    store: Any = Away()
    async with connect(build(store)) as client:
        answer = await client.get(LATEST, params={"measurement": "m"})
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["detail"]) == (503, "3", "away")


async def test_the_openapi_document_shows_examples(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"][RANGE]["get"]
    assert "text/csv" in operation["responses"]["200"]["content"]
    assert {parameter["name"] for parameter in operation["parameters"]} >= {
        "measurement",
        "machine",
        "start",
        "stop",
        "window",
        "format",
    }
    assert document["components"]["schemas"]["SeriesBody"]["properties"]["samples"]["examples"]
    write = document["paths"]["/api/v2/write"]["post"]
    assert set(write["responses"]) >= {"204", "400", "401", "404", "413", "422", "429", "503"}
