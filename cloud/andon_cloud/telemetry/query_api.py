"""Telemetry over HTTP: the newest samples, and samples in a time range as JSON or CSV."""

from __future__ import annotations

import csv
import io
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from andon_cloud.problems import Problem, responses
from andon_cloud.telemetry.store import (
    Aggregate,
    RangeQuery,
    Series,
    StoreUnavailableError,
    TelemetryStore,
    TooManySamplesError,
)
from andon_cloud.telemetry.times import TimeFormatError, parse_duration, parse_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

TAGS: Final = ("site", "area", "line", "machine", "node", "channel")
_ROWS_PER_CHUNK: Final = 1_000


class Format(StrEnum):
    """How a range is answered."""

    JSON = "json"
    CSV = "csv"


class SeriesBody(BaseModel):
    """One field of one series."""

    measurement: str = Field(examples=["temperature"])
    field: str = Field(examples=["celsius"])
    tags: dict[str, str] = Field(examples=[{"site": "demo", "machine": "press-7", "node": "press-7", "channel": "0"}])
    samples: list[tuple[int, float | int | bool | str]] = Field(
        description="[milliseconds since 1970 UTC, value], oldest first",
        examples=[[[1764000000000, 41.1875], [1764000010000, 41.25]]],
    )


class TelemetryBody(BaseModel):
    """Series, in no particular order."""

    series: list[SeriesBody]


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one range query may ask for."""

    samples: int = 100_000
    fields: int = 32


def _tags(  # one query parameter for each tag of the protocol
    site: Annotated[str | None, Query(max_length=63, examples=["demo"])] = None,
    area: Annotated[str | None, Query(max_length=63)] = None,
    line: Annotated[str | None, Query(max_length=63)] = None,
    machine: Annotated[str | None, Query(max_length=63, examples=["press-7"])] = None,
    node: Annotated[str | None, Query(max_length=63)] = None,
    channel: Annotated[str | None, Query(max_length=63, examples=["0"])] = None,
) -> dict[str, str]:
    """The tags that a series must have."""
    values = (site, area, line, machine, node, channel)
    return {tag: value for tag, value in zip(TAGS, values, strict=True) if value is not None}


Tags = Annotated[dict[str, str], Depends(_tags)]
Measurement = Annotated[str, Query(min_length=1, max_length=255, examples=["temperature"])]


def query_router(
    store: TelemetryStore,
    *,
    limits: QueryLimits | None = None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> APIRouter:
    """Routes `GET /api/v1/telemetry/latest` and `GET /api/v1/telemetry/range`.

    Args:
        store: An open store.
        limits: What a query may ask for.
        now_ms: The clock that relative times refer to, milliseconds since the epoch.
    """
    bounds = limits or QueryLimits()
    router = APIRouter(prefix="/api/v1/telemetry", tags=["telemetry"])

    @router.get("/latest", response_model=TelemetryBody, responses=responses(422, 503), summary="Newest samples")
    async def latest(measurement: Measurement, tags: Tags) -> Response:
        """The newest sample of every field of every series that has the given tags."""
        async with _store_problems():
            return _json(await store.latest(measurement, tags))

    @router.get("/range", response_model=TelemetryBody, responses=_RANGE_RESPONSES, summary="Samples in a time range")
    async def range_(  # each is a query parameter
        measurement: Measurement,
        tags: Tags,
        start: Annotated[
            str, Query(description="From here on: RFC 3339, `-15m`, `now` or milliseconds", examples=["-15m"])
        ],
        stop: Annotated[str, Query(description="Up to but without here; as `start`", examples=["now"])] = "now",
        fields: Annotated[
            str | None, Query(description="Separated by commas; all if absent", examples=["celsius"])
        ] = None,
        window: Annotated[
            str | None, Query(description="One sample per window: `10s`, `1m`, `1h`", examples=["1m"])
        ] = None,
        aggregate: Annotated[Aggregate, Query(description="How a window becomes a sample")] = Aggregate.MEAN,
        form: Annotated[Format, Query(alias="format")] = Format.JSON,
    ) -> Response:
        """Samples of every series that has the given tags, raw or one per window.

        A window is stamped with its start and aligned to 1970 UTC. `mean`, `min`, `max` and `sum` leave fields out that
        hold no numbers.
        """
        query = _range_query(measurement, tags, (start, stop, window), fields, aggregate, now_ms(), bounds)
        async with _store_problems():
            found = await store.range(query)
        return _json(found) if form is Format.JSON else _csv(found)

    return router


def _range_query(  # the parts of one query
    measurement: str,
    tags: dict[str, str],
    times: tuple[str, str, str | None],
    fields: str | None,
    aggregate: Aggregate,
    now_ms: int,
    limits: QueryLimits,
) -> RangeQuery:
    """Check what the caller wrote.

    Raises:
        Problem: 400, naming the parameter and what is expected.
    """
    start, stop, window = times
    start_ms = _parameter("start", lambda: parse_time(start, now_ms))
    stop_ms = _parameter("stop", lambda: parse_time(stop, now_ms))
    window_ms = None if window is None else _parameter("window", lambda: parse_duration(window))
    if start_ms >= stop_ms:
        raise Problem(400, f"start must be before stop; they are {start_ms} and {stop_ms} in milliseconds since 1970")
    if window_ms is not None and (stop_ms - start_ms) // window_ms > limits.samples:
        raise Problem(
            400,
            f"window: {window} cuts this range into more than {limits.samples} windows; ask for a longer window or less time",
        )
    names = tuple(name for name in (fields or "").split(",") if name)
    if len(names) > limits.fields:
        raise Problem(400, f"fields: at most {limits.fields} names")
    return RangeQuery(measurement, start_ms, stop_ms, names, tags, window_ms, aggregate, limits.samples)


def _parameter(name: str, parse: Callable[[], int]) -> int:
    try:
        return parse()
    except TimeFormatError as error:
        raise Problem(400, f"{name}: {error}") from error


@asynccontextmanager
async def _store_problems() -> AsyncIterator[None]:
    """Answer the store's errors with problem details."""
    try:
        yield
    except TooManySamplesError as error:
        raise Problem(
            400, f"The answer would hold {error}; ask for less time, fewer series, or windows (window=1m)."
        ) from error
    except StoreUnavailableError as error:
        raise Problem(503, str(error), headers={"Retry-After": str(error.retry_after_s)}) from error


def _json(found: Sequence[Series]) -> Response:
    content = {
        "series": [
            {
                "measurement": series.measurement,
                "field": series.field,
                "tags": dict(series.tags),
                "samples": [(sample.time_ms, sample.value) for sample in series.samples],
            }
            for series in found
        ]
    }
    return Response(orjson.dumps(content), media_type="application/json")


def _csv(found: Sequence[Series]) -> Response:
    headers = {"Content-Disposition": 'attachment; filename="telemetry.csv"'}
    return StreamingResponse(_csv_chunks(found), media_type="text/csv; charset=utf-8; header=present", headers=headers)


def _csv_chunks(found: Sequence[Series]) -> Iterator[str]:
    """RFC 4180 with a header: the protocol's tags first, then others that occur, then time and value."""
    others = sorted({tag for series in found for tag in series.tags} - set(TAGS))
    tags = [*TAGS, *others]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["time_ms", "measurement", "field", *tags, "value"])
    rows = 0
    for series in found:
        fixed = [series.measurement, series.field, *(series.tags.get(tag, "") for tag in tags)]
        for sample in series.samples:
            writer.writerow([sample.time_ms, *fixed, _csv_value(sample.value)])
            rows += 1
            if rows % _ROWS_PER_CHUNK == 0:
                yield text.getvalue()
                text.seek(0)
                text.truncate()
    yield text.getvalue()


def _csv_value(value: Any) -> Any:
    """Booleans as JSON writes them, not as Python does."""
    return ("false", "true")[value] if isinstance(value, bool) else value


_CSV_EXAMPLE: Final = (
    "time_ms,measurement,field,site,area,line,machine,node,channel,value\r\n"
    "1764000000000,temperature,celsius,demo,a1,l1,press-7,press-7,0,41.1875\r\n"
)
_RANGE_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The samples", "content": {"text/csv": {"example": _CSV_EXAMPLE}}},
    **responses(400, 422, 503),
}
