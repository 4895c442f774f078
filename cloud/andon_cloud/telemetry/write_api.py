"""InfluxDB v2's write endpoint: any InfluxDB v2 client can write here.

Reference: https://docs.influxdata.com/influxdb/v2/api/ (POST /api/v2/write, GET /ping, GET /health). Errors have
InfluxDB's JSON and codes, not problem details, because InfluxDB's clients read them.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from andon_cloud.telemetry.gzip_body import MalformedGzipError, gunzip
from andon_cloud.telemetry.relay_readings import RelayReading, relay_readings
from andon_cloud.telemetry.store import (
    BodyTooLargeError,
    Encoding,
    FieldTypeConflictError,
    LinesRejectedError,
    Precision,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
    TelemetryStore,
)

Authenticate = Callable[[str], Awaitable[str | None]]
Observer = Callable[[str, Sequence[RelayReading]], Awaitable[None]]

_log = logging.getLogger(__name__)
_AUTHORIZATION: Final = re.compile(r"(?:token|bearer) +(\S+) *", re.IGNORECASE)

# Decompressing or searching less than this takes less time than handing it to a thread.
_INLINE_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Bytes of one request: as sent, and decompressed."""

    body: int = 16 * 1024 * 1024
    decompressed: int = 64 * 1024 * 1024


class _RefusedError(Exception):
    """A request is answered with InfluxDB's error JSON."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s

    def response(self, lines: Sequence[object] = ()) -> Response:
        content: dict[str, object] = {"code": self.code, "message": str(self)}
        if lines:
            content["lines"] = list(lines)
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JSONResponse(content, self.status, headers)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One request's way: who, where to, what, into the store, to the observers."""

    store: TelemetryStore
    authenticate: Authenticate
    observers: Sequence[Observer]
    org: str
    bucket: str
    limits: WriteLimits

    async def write(self, request: Request) -> Response:
        try:
            gateway = await self._gateway_of(request.headers.get("authorization", ""))
            precision = self._check_target(request)
            encoding = _encoding(request)
            body = await self._receive(request)
            readings = await self._decode(body, precision, encoding)
            try:
                await self.store.write(body, precision, encoding)
            except LinesRejectedError:
                # The good lines are stored, so what they say about relays is what this gateway says.
                await self._observe(gateway, readings)
                raise
            await self._observe(gateway, readings)
        except _RefusedError as error:
            return error.response()
        except StoreError as error:
            return _answer(error)
        return Response(status_code=204)

    async def _gateway_of(self, authorization: str) -> str:
        match = _AUTHORIZATION.fullmatch(authorization)
        gateway = None if match is None else await self.authenticate(match[1])
        if gateway is None:
            raise _RefusedError(401, "unauthorized", "unauthorized access")
        return gateway

    def _check_target(self, request: Request) -> Precision:
        org = request.query_params.get("org") or request.query_params.get("orgID")
        bucket = request.query_params.get("bucket")
        if not org or not bucket:
            raise _RefusedError(400, "invalid", "the query parameters org and bucket are required")
        if org != self.org:
            raise _RefusedError(404, "not found", f'organization name "{org}" not found')
        if bucket != self.bucket:
            raise _RefusedError(404, "not found", f'bucket "{bucket}" not found')
        try:
            return Precision(request.query_params.get("precision") or "ns")
        except ValueError:
            raise _RefusedError(
                400, "invalid", "invalid precision; valid precision units are ns, us, ms, and s"
            ) from None

    async def _receive(self, request: Request) -> bytes:
        """The body as sent; a length that is announced is checked before anything is read."""
        too_large = _RefusedError(
            413, "request too large", f"the body is larger than {self.limits.body} bytes; send fewer lines at once"
        )
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > self.limits.body:
            raise too_large
        chunks: list[bytes] = []
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > self.limits.body:
                raise too_large
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _decode(self, body: bytes, precision: Precision, encoding: Encoding) -> list[RelayReading]:
        """Refuse a body that does not decompress; find the relay readings in it, if anybody wants them."""

        def decode() -> list[RelayReading]:
            text = gunzip(body, self.limits.decompressed) if encoding == "gzip" else body
            return relay_readings(text, precision) if self.observers else []

        try:
            return decode() if len(body) < _INLINE_BYTES else await asyncio.to_thread(decode)
        except MalformedGzipError as error:
            raise _RefusedError(400, "invalid", str(error)) from error

    async def _observe(self, gateway: str, readings: list[RelayReading]) -> None:
        if not readings:
            return
        for observer in self.observers:
            try:
                await observer(gateway, readings)
            except Exception:  # noqa: BLE001  # an observer's fault must not make the gateway send stored points again
                _log.exception("an observer of relay readings failed")


def _encoding(request: Request) -> Encoding:
    written = request.headers.get("content-encoding", "identity").strip().lower()
    if written in ("", "identity"):
        return "identity"
    if written == "gzip":
        return "gzip"
    raise _RefusedError(400, "invalid", f"Content-Encoding {written[:40]!r} is not known; use gzip or none")


def _answer(error: StoreError) -> Response:
    """The store's error as InfluxDB says it."""
    match error:
        case FieldTypeConflictError():
            refused = _RefusedError(422, "unprocessable entity", str(error))
        case LinesRejectedError():
            refused = _RefusedError(400, "invalid", str(error))
        case BodyTooLargeError():
            refused = _RefusedError(413, "request too large", str(error))
        case StoreBusyError():
            refused = _RefusedError(429, "too many requests", str(error), error.retry_after_s)
        case StoreUnavailableError():
            refused = _RefusedError(503, "unavailable", str(error), error.retry_after_s)
        case _:
            refused = _RefusedError(500, "internal error", str(error))
    lines = error.lines if isinstance(error, LinesRejectedError) else ()
    return refused.response([{"line": line.line, "reason": line.reason, "text": line.text} for line in lines])


def write_router(
    store: TelemetryStore,
    authenticate: Authenticate,
    observers: Sequence[Observer] = (),
    *,
    org: str = "andon",
    bucket: str = "telemetry",
    limits: WriteLimits | None = None,
) -> APIRouter:
    """Routes `POST /api/v2/write`, `GET|HEAD /ping` and `GET /health`.

    Args:
        store: An open store.
        authenticate: Returns the id of the gateway that a token belongs to, or None. Tokens are never logged.
        observers: Called after a write with the gateway and the relay readings of it that were stored, if there are any. What they raise is
            logged and does not change the answer.
        org: The only organization; another one is answered with 404.
        bucket: The only bucket; another one is answered with 404.
        limits: Sizes beyond which a request is answered with 413.
    """
    endpoint = _Endpoint(store, authenticate, tuple(observers), org, bucket, limits or WriteLimits())
    router = APIRouter(tags=["InfluxDB v2"])

    @router.post(
        "/api/v2/write",
        status_code=204,
        summary="Write line protocol",
        responses=_RESPONSES,
        openapi_extra={"requestBody": {"required": True, "content": {"text/plain": {"example": _EXAMPLE}}}},
    )
    async def write(  # the parameters are for OpenAPI; the endpoint reads the request itself
        request: Request,
        org: Annotated[str | None, Query(description="Organization", examples=["andon"])] = None,  # noqa: ARG001
        bucket: Annotated[str | None, Query(description="Bucket", examples=["telemetry"])] = None,  # noqa: ARG001
        precision: Annotated[str | None, Query(description="ns (default), us, ms or s")] = None,  # noqa: ARG001
        authorization: Annotated[str | None, Header(description="Token <gateway token>")] = None,  # noqa: ARG001
        content_encoding: Annotated[str | None, Header(description="gzip or identity")] = None,  # noqa: ARG001
    ) -> Response:
        """Store points durably. Wrong lines are refused one by one; the others of the same body are stored."""
        return await endpoint.write(request)

    @router.head("/ping", status_code=204, include_in_schema=False)
    @router.get("/ping", status_code=204, summary="Whether the server is up")
    async def ping() -> Response:
        return Response(status_code=204, headers={"X-Influxdb-Build": "Andon", "X-Influxdb-Version": "v2-andon"})

    @router.get("/health", summary="Whether the telemetry store answers")
    async def health() -> Response:
        passes = await store.healthy()
        return JSONResponse(
            {
                "name": "influxdb",
                "message": "ready for queries and writes" if passes else "the telemetry store does not answer",
                "status": "pass" if passes else "fail",
                "checks": [],
            },
            200 if passes else 503,
        )

    return router


_EXAMPLE: Final = (
    "temperature,area=a1,channel=0,line=l1,machine=press-7,node=press-7,site=demo celsius=41.1875 1764000000000"
)


def _error_example(description: str, code: str, message: str) -> dict[str, object]:
    return {
        "description": description,
        "content": {"application/json": {"example": {"code": code, "message": message}}},
    }


_RESPONSES: Final[dict[int | str, dict[str, object]]] = {
    400: _error_example("Malformed body, line or parameter", "invalid", "unable to parse 'm v=': missing value"),
    401: _error_example("Unknown token", "unauthorized", "unauthorized access"),
    404: _error_example("Unknown organization or bucket", "not found", 'bucket "b" not found'),
    413: _error_example("Body too large", "request too large", "the body is larger than 16777216 bytes"),
    422: _error_example("Field type conflict", "unprocessable entity", "partial write: field type conflict: ..."),
    429: _error_example("Too many writes; see Retry-After", "too many requests", "too many writes are waiting"),
    503: _error_example("Store away; see Retry-After", "unavailable", "the telemetry store cannot write"),
}
