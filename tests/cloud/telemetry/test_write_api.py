"""POST /api/v2/write: InfluxDB v2's answers, with the embedded store behind it."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloud.telemetry.http_app import TOKEN, WRITE, build, connect, served
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from andon_cloud.telemetry.gzip_body import MalformedGzipError, gunzip
from andon_cloud.telemetry.relay_readings import RelayReading
from andon_cloud.telemetry.store import BodyTooLargeError, StoreBusyError, StoreError, StoreUnavailableError
from andon_cloud.telemetry.write_api import WriteLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from influxdb_server import InfluxServer

    from andon_cloud.telemetry.embedded import EmbeddedStore

T0 = 1_764_000_000_000
GOOD = f"m,machine=press-7 v=1 {T0}"


@pytest.fixture
async def client(embedded: EmbeddedStore) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(build(embedded)) as opened:
        yield opened


async def stored(store: EmbeddedStore) -> int:
    return len(await store.latest("m"))


async def test_a_good_body_is_answered_204_when_it_is_stored(
    client: httpx.AsyncClient, embedded: EmbeddedStore
) -> None:
    answer = await client.post(WRITE, content=GOOD)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await stored(embedded) == 1


async def test_a_gzip_body_is_taken(client: httpx.AsyncClient, embedded: EmbeddedStore) -> None:
    body = gzip.compress(GOOD.encode()) + gzip.compress(b"\nm,machine=b v=1")
    answer = await client.post(WRITE, content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 204
    assert await stored(embedded) == 2


@pytest.mark.parametrize(
    ("url", "body", "headers", "status", "code", "message"),
    [
        (WRITE, "bad", {}, 400, "invalid", "unable to parse 'bad': missing fields"),
        (WRITE, b"no gzip", {"Content-Encoding": "gzip"}, 400, "invalid", "not valid gzip"),
        (WRITE, gzip.compress(b"m v=1")[:-5], {"Content-Encoding": "gzip"}, 400, "invalid", "cut off"),
        (WRITE, b"", {"Content-Encoding": "gzip"}, 400, "invalid", "cut off"),
        (WRITE, GOOD, {"Content-Encoding": "br"}, 400, "invalid", "use gzip"),
        ("/api/v2/write?org=andon&bucket=telemetry&precision=h", GOOD, {}, 400, "invalid", "valid precision units are"),
        ("/api/v2/write?bucket=telemetry", GOOD, {}, 400, "invalid", "org and bucket"),
        ("/api/v2/write?org=x&bucket=telemetry", GOOD, {}, 404, "not found", 'organization name "x" not found'),
        ("/api/v2/write?org=andon&bucket=x", GOOD, {}, 404, "not found", 'bucket "x" not found'),
        (WRITE, GOOD, {"Authorization": "Token wrong"}, 401, "unauthorized", "unauthorized access"),
        (WRITE, GOOD, {"Authorization": TOKEN}, 401, "unauthorized", "unauthorized access"),
        (WRITE, GOOD, {"Authorization": ""}, 401, "unauthorized", "unauthorized access"),
        (WRITE, GOOD, {"Authorization": f"Basic {TOKEN}"}, 401, "unauthorized", "unauthorized access"),
    ],
)
async def test_refusals_store_nothing(  # one column of the table each
    client: httpx.AsyncClient,
    embedded: EmbeddedStore,
    url: str,
    body: Any,
    headers: dict[str, str],
    status: int,
    code: str,
    message: str,
) -> None:
    answer = await client.post(url, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == code
    assert message in answer.json()["message"]
    assert await stored(embedded) == 0


@pytest.mark.parametrize("scheme", ["Token", "token", "Bearer"])
async def test_token_schemes(client: httpx.AsyncClient, scheme: str) -> None:
    answer = await client.post(WRITE, content=GOOD, headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status_code == 204


async def test_bad_lines_are_listed_and_the_good_ones_stored(
    client: httpx.AsyncClient, embedded: EmbeddedStore
) -> None:
    answer = await client.post(WRITE, content=f"bad\n{GOOD}\nm v=x")
    assert answer.status_code == 400
    assert answer.json()["lines"] == [
        {
            "line": 1,
            "reason": "missing fields: expected a space and field=value after measurement and tags",
            "text": "bad",
        },
        {
            "line": 3,
            "reason": "field 'v': x is no float (1.5), integer (1i), unsigned (1u), boolean (true) or string",
            "text": "m v=x",
        },
    ]
    assert "dropped=2 of 3" in answer.json()["message"]
    assert await stored(embedded) == 1


async def test_another_field_type_is_422_as_influxdb_says_it(client: httpx.AsyncClient) -> None:
    assert (await client.post(WRITE, content="m v=1 1")).status_code == 204
    answer = await client.post(WRITE, content="m v=1i 2\nm v=2 3")
    assert answer.status_code == 422
    assert answer.json()["code"] == "unprocessable entity"
    assert (
        'input field "v" on measurement "m" is type integer, already exists as type float' in answer.json()["message"]
    )
    assert [line["line"] for line in answer.json()["lines"]] == [1]


async def test_too_large_bodies_are_413(embedded: EmbeddedStore) -> None:
    async with connect(build(embedded, write_limits=WriteLimits(body=1000, decompressed=5000))) as client:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"m v=1 1\n" * 10

        announced = await client.post(WRITE, content="m v=1 1\n" * 126)
        unannounced = await client.post(WRITE, content=chunks())
        bomb = gzip.compress(b"m v=1 1\n" * 50_000)
        assert len(bomb) < 1000
        grown = await client.post(WRITE, content=bomb, headers={"Content-Encoding": "gzip"})
        for answer in (announced, unannounced, grown):
            assert (answer.status_code, answer.json()["code"]) == (413, "request too large")
        assert (await client.post(WRITE, content="m v=1 1\n" * 125)).status_code == 204


def test_gunzip_stops_at_the_limit_and_wants_whole_members() -> None:
    bomb = zlib.compress(b"\0" * 50_000_000, wbits=31)
    with pytest.raises(BodyTooLargeError):
        gunzip(bomb, 1_000_000)
    assert len(gunzip(bomb, 50_000_000)) == 50_000_000
    two = gzip.compress(b"a") + gzip.compress(b"b")
    assert gunzip(two, 2) == b"ab"
    with pytest.raises(BodyTooLargeError):
        gunzip(two, 1)
    damaged = bytearray(gzip.compress(b"hello"))
    damaged[-8] ^= 1
    for body in (bytes(damaged), two[:-1], two + b"x", b"", gzip.compress(b"") * 100):
        with pytest.raises(MalformedGzipError):
            gunzip(body, 100)


class FailingStore:
    """Stands in for a store whose server or disk fails on demand; the real ones are in the contract tests."""

    def __init__(self, failure: StoreError) -> None:
        self.failure = failure

    async def write(self, *_arguments: object) -> None:
        raise self.failure

    async def healthy(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (StoreUnavailableError("away", retry_after_s=7), 503, "7"),
        (StoreBusyError("busy", retry_after_s=1), 429, "1"),
        (BodyTooLargeError("large"), 413, None),
        (StoreError("odd"), 500, None),
    ],
)
async def test_store_failures_have_influxdbs_codes(failure: StoreError, status: int, retry_after: str | None) -> None:
    store: Any = FailingStore(failure)
    async with connect(build(store)) as client:
        answer = await client.post(WRITE, content=GOOD)
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == retry_after
        assert answer.json()["message"] == str(failure)
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "fail")


# --- observers -------------------------------------------------------------------------------------------------

RELAY = f"relay,machine=press-7,node=n,channel=0 on=true {T0}"
READING = RelayReading("press-7", "n", 0, on=True, time_ms=T0)


async def test_observers_get_the_stored_relay_readings(embedded: EmbeddedStore) -> None:
    seen: list[RelayReading] = []

    async def failing(_gateway: str, _readings: Sequence[RelayReading]) -> None:
        raise RuntimeError("must not be the sender's trouble")

    async def observer(gateway: str, readings: Sequence[RelayReading]) -> None:
        assert await embedded.latest("relay"), "observers are called after the write"
        assert gateway == "gw-1"
        seen.extend(readings)

    async with connect(build(embedded, [failing, observer])) as client:
        assert (await client.post(WRITE, content=GOOD)).status_code == 204
        assert seen == []
        assert (await client.post(WRITE, content=f"{GOOD}\n{RELAY}")).status_code == 204
        assert seen == [READING]
        body = gzip.compress(f"{RELAY}\nbad".encode())
        assert (await client.post(WRITE, content=body, headers={"Content-Encoding": "gzip"})).status_code == 400
        assert seen == [READING, READING]


async def test_observers_get_nothing_when_the_store_fails() -> None:
    seen: list[RelayReading] = []

    async def observer(_gateway: str, readings: Sequence[RelayReading]) -> None:
        seen.extend(readings)

    store: Any = FailingStore(StoreUnavailableError("away"))
    async with connect(build(store, [observer])) as client:
        assert (await client.post(WRITE, content=RELAY)).status_code == 503
    assert seen == []


# --- the real client, and the real server beside ours ------------------------------------------------------------


async def test_influxdb_client_writes_here(embedded: EmbeddedStore) -> None:
    def use(url: str, token: str, **options: Any) -> Any:
        with InfluxDBClient(url, token, org="andon", **options) as client:
            assert client.ping()
            writing: Any = client.write_api(write_options=SYNCHRONOUS)
            writing.write(
                "telemetry",
                record=["m,machine=a v=1 1", {"measurement": "m", "tags": {"machine": "b"}, "fields": {"v": 2.0}}],
            )
            return writing

    def refused(url: str, token: str, record: str) -> ApiException:
        with InfluxDBClient(url, token, org="andon", enable_gzip=True) as client:
            writing: Any = client.write_api(write_options=SYNCHRONOUS)
            with pytest.raises((ApiException, InfluxDBError)) as caught:
                writing.write("telemetry", record=record)
            assert isinstance(caught.value, ApiException)
            return caught.value

    async with served(build(embedded)) as url:
        await asyncio.to_thread(use, url, TOKEN)
        await asyncio.to_thread(use, url, TOKEN, enable_gzip=True)
        assert await stored(embedded) == 2
        unknown = await asyncio.to_thread(refused, url, "wrong", "m v=1")
        assert (unknown.status, "unauthorized" in str(unknown.body)) == (401, True)
        bad = await asyncio.to_thread(refused, url, TOKEN, "bad")
        assert (bad.status, "missing fields" in str(bad.body)) == (400, True)


@pytest.mark.parametrize(
    ("params", "body", "headers"),
    [
        ({}, "m v=1 1", {}),
        ({}, "", {}),
        ({}, "# nothing\n", {}),
        ({}, "bad", {}),
        ({}, "m v=1 1\r\nm v=1 2\r\n", {}),
        ({}, "kept v=1i 1", {}),
        ({"precision": "h"}, "m v=1 1", {}),
        ({"precision": ""}, "m v=1 1", {}),
        ({"precision": "us"}, "m v=1 1", {}),
        ({"org": "nobody"}, "m v=1 1", {}),
        ({"org": ""}, "m v=1 1", {}),
        ({"bucket": "nothing"}, "m v=1 1", {}),
        ({}, "m v=1 1", {"Authorization": "Token wrong"}),
        ({}, "m v=1 1", {"Authorization": ""}),
        ({}, gzip.compress(b"m v=1 1"), {"Content-Encoding": "gzip"}),
    ],
)
async def test_status_and_code_are_those_of_a_real_influxdb(
    embedded: EmbeddedStore, influxdb_server: InfluxServer, params: dict[str, str], body: Any, headers: dict[str, str]
) -> None:
    theirs = httpx.AsyncClient(
        base_url=influxdb_server.url, headers={"Authorization": f"Token {influxdb_server.token}"}
    )
    bucket = influxdb_server.create_bucket()
    async with connect(build(embedded)) as ours, theirs:
        answers = []
        for client, name in ((ours, "telemetry"), (theirs, bucket)):
            query = {"org": "andon", "bucket": name, "precision": "ms"} | params
            await client.post("/api/v2/write", params={"org": "andon", "bucket": name}, content="kept v=1 1")
            answer = await client.post("/api/v2/write", params=query, content=body, headers=headers)
            answers.append((answer.status_code, answer.json()["code"] if answer.content else None))
    assert answers[0] == answers[1]


async def test_ping_and_health(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ping")).status_code == 204
    assert (await client.head("/ping")).status_code == 204
    health = await client.get("/health", headers={"Authorization": ""})
    assert (health.status_code, health.json()["status"]) == (200, "pass")
