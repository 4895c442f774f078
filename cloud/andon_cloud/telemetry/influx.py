"""The InfluxDB 2.x telemetry store: bodies go through as they are, reads are Flux through influxdb-client."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx
import urllib3.exceptions
from influxdb_client.client.flux_csv_parser import FluxQueryException
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from andon_cloud.telemetry.flux import latest_query, range_query
from andon_cloud.telemetry.gzip_body import MalformedGzipError, gunzip
from andon_cloud.telemetry.lineprotocol import LineParser
from andon_cloud.telemetry.store import (
    Aggregate,
    BodyTooLargeError,
    Encoding,
    FieldTypeConflictError,
    LinesRejectedError,
    Precision,
    RangeQuery,
    Sample,
    Series,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    TooManySamplesError,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from influxdb_client.client.flux_table import FluxTable

_log = logging.getLogger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_COLUMNS: Final = frozenset({"result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"})
_ANY_TYPE: Final = frozenset({Aggregate.LAST, Aggregate.COUNT})
_MISCONFIGURED_RETRY_S: Final = 30
_MAX_RETRY_S: Final = 3600


class InfluxStore:
    """A `TelemetryStore` in one bucket of an InfluxDB 2.x server.

    Args:
        url: For example `http://influxdb:8086`.
        token: May read and write the bucket.
        org: Organization's name.
        bucket: Bucket's name.
        timeout_s: How long one write or one query may take.
        connections: Connections kept alive for writing; as many queries run at once as half of it.
        max_body: Bytes that a gzip body may grow to when its good lines must be picked out.
    """

    def __init__(
        self,
        url: str,
        token: str,
        org: str,
        bucket: str,
        *,
        timeout_s: float = 10.0,
        connections: int = 8,
        max_body: int = 64 * 1024 * 1024,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._org = org
        self._bucket = bucket
        self._timeout_s = timeout_s
        self._connections = connections
        self._max_body = max_body
        self._http: httpx.AsyncClient | None = None
        self._client: InfluxDBClient | None = None
        self._pool: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Make the clients; the server need not be there yet."""
        limits = httpx.Limits(max_connections=self._connections, max_keepalive_connections=self._connections)
        self._http = httpx.AsyncClient(
            base_url=self._url,
            headers={"Authorization": f"Token {self._token}", "Content-Type": "text/plain; charset=utf-8"},
            timeout=self._timeout_s,
            limits=limits,
        )
        readers = max(1, self._connections // 2)
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="influxdb-reader")
        self._client = InfluxDBClient(
            self._url,
            self._token,
            org=self._org,
            timeout=int(self._timeout_s * 1000),
            connection_pool_maxsize=readers,
            retries=False,
            enable_gzip=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)
            self._pool = None
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]  # influxdb-client gives it no types
            self._client = None

    async def write(self, body: bytes, precision: Precision, encoding: Encoding = "identity") -> None:
        """See `TelemetryStore.write`.

        InfluxDB 2.x refuses a whole body for one line that it cannot read (and answers 400), so the good lines are then
        picked out and sent again. A field of another type costs only its line there (422).
        """
        response = await self._post(body, precision, encoding)
        if response.status_code == httpx.codes.BAD_REQUEST:
            await self._write_good_lines(body, precision, encoding, _message(response))
        elif not response.is_success:
            raise _write_error(response)

    async def latest(self, measurement: str, tags: Mapping[str, str] | None = None) -> list[Series]:
        """See `TelemetryStore.latest`."""
        return await self._query(latest_query(self._bucket, measurement, tags or {}))

    async def range(self, query: RangeQuery) -> list[Series]:
        """See `TelemetryStore.range`."""
        if query.start_ms >= query.stop_ms:
            return []
        try:
            found = await self._query(range_query(self._bucket, query))
        except _NotNumericError:
            found = await self._query(range_query(self._bucket, query, numbers_only=True))
        if query.limit is not None and sum(len(series.samples) for series in found) > query.limit:
            raise TooManySamplesError(f"more than {query.limit} samples")
        return found if query.window_ms is None else [_aligned(series, query.window_ms) for series in found]

    async def healthy(self) -> bool:
        """Whether the server says that it is ready."""
        if self._http is None:
            return False
        try:
            response = await self._http.get("/health")
            return bool(response.json().get("status") == "pass")
        except (httpx.HTTPError, ValueError):
            return False

    async def _post(self, body: bytes, precision: Precision, encoding: Encoding) -> httpx.Response:
        if self._http is None:
            raise StoreUnavailableError("the telemetry store is not open")
        headers = {"Content-Encoding": "gzip"} if encoding == "gzip" else {}
        params = {"org": self._org, "bucket": self._bucket, "precision": precision.value}
        try:
            return await self._http.post("/api/v2/write", params=params, content=body, headers=headers)
        except httpx.TimeoutException as error:
            raise StoreUnavailableError(f"InfluxDB at {self._url} did not answer in {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise StoreUnavailableError(f"InfluxDB at {self._url} cannot be reached: {error}") from error

    async def _write_good_lines(self, body: bytes, precision: Precision, encoding: Encoding, reason: str) -> None:
        try:
            text = gunzip(body, self._max_body) if encoding == "gzip" else body
        except MalformedGzipError as error:
            raise LinesRejectedError(str(error)) from error
        parsed = await asyncio.to_thread(LineParser().parse, text, precision, 0)
        if not parsed.errors:
            # Our parser is the stricter one (tested against InfluxDB), so this is a difference worth a bug report.
            raise LinesRejectedError(f"InfluxDB refused the whole body: {reason}")
        bad = {error.line for error in parsed.errors}
        if parsed.points:
            good = b"\n".join(line for number, line in enumerate(text.split(b"\n"), 1) if number not in bad)
            response = await self._post(good, precision, "identity")
            if response.status_code == httpx.codes.BAD_REQUEST:
                raise LinesRejectedError(f"InfluxDB refused the whole body: {_message(response)}", parsed.errors)
            if not response.is_success and response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
                raise _write_error(response)
            if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                reason = f"{reason}; {_message(response)}"
        raise LinesRejectedError(f"partial write: {reason}", parsed.errors)

    async def _query(self, flux: str) -> list[Series]:
        if self._client is None or self._pool is None:
            raise StoreUnavailableError("the telemetry store is not open")
        api = self._client.query_api()
        work: Callable[[], list[Series]] = lambda: [_series(table) for table in api.query(flux)]  # noqa: E731
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except ApiException as error:
            raise _read_error(error.status, str(error.body or error.reason)) from error
        except FluxQueryException as error:
            # The answer had begun (status 200) when the query failed.
            raise _read_error(None, str(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailableError(f"InfluxDB at {self._url} cannot be reached: {error}") from error


class _NotNumericError(StoreUnavailableError):
    """The query aggregates a field that holds no numbers."""


def _series(table: FluxTable) -> Series:
    first: dict[str, Any] = table.records[0].values
    samples = [Sample((record["_time"] - _EPOCH) // _MILLISECOND, _value(record["_value"])) for record in table.records]
    tags = {key: value for key, value in first.items() if key not in _COLUMNS}
    return Series(first["_measurement"], first["_field"], tags, samples)


def _value(value: Value | None) -> Value:
    """Undo what CSV does to a string: InfluxDB writes a line feed as CR LF, influxdb-client reads the empty one as None."""
    if value is None:
        return ""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def _aligned(series: Series, window_ms: int) -> Series:
    """Flux cuts the first window at the range's start and stamps it so; the interface stamps the window's own start."""
    samples = [Sample(sample.time_ms - sample.time_ms % window_ms, sample.value) for sample in series.samples]
    return Series(series.measurement, series.field, series.tags, samples)


def _message(response: httpx.Response) -> str:
    """What InfluxDB says about an error, shortened: it repeats the lines it does not understand."""
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = response.text or f"HTTP {response.status_code}"
    return text[:1000]


def _retry_after_s(response: httpx.Response, default: int = 5) -> int:
    written = response.headers.get("Retry-After", "")
    return min(int(written), _MAX_RETRY_S) if written.isdecimal() else default


def _write_error(response: httpx.Response) -> StoreError:
    message = _message(response)
    match response.status_code:
        case 422:
            return FieldTypeConflictError(message)
        case 413:
            return BodyTooLargeError(message)
        case 429:
            return StoreBusyError(f"InfluxDB takes no more writes now: {message}", _retry_after_s(response))
        case 401 | 403 | 404:
            return _misconfigured(response.status_code, message)
        case status:
            return StoreUnavailableError(f"InfluxDB answered {status}: {message}", _retry_after_s(response))


def _misconfigured(status: int, message: str) -> StoreUnavailableError:
    """Our own token, organization or bucket is wrong: the sender's data is not to blame and must not be lost."""
    text = f"InfluxDB answered {status} ({message}): check the store's token, organization and bucket in the settings"
    _log.error(text)
    return StoreUnavailableError(text, _MISCONFIGURED_RETRY_S)


def _read_error(status: int | None, message: str) -> StoreError:
    text = message[:1000]
    # "unsupported input type for mean aggregate: string", "panic: unsupported for aggregate max: *reads.boolean...".
    if "unsupported" in text:
        return _NotNumericError(text)
    if status in (401, 403, 404):
        return _misconfigured(status, text)
    return StoreUnavailableError(f"InfluxDB failed at a query ({status or 'while answering'}): {text}")
