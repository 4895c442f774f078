"""The store interface: what the cloud asks of any telemetry store, embedded or InfluxDB.

Both implementations pass the same contract tests (`tests/cloud/telemetry/test_store_contract.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = float | int | bool | str
Encoding = Literal["identity", "gzip"]


class Precision(StrEnum):
    """Unit of the timestamps in a line protocol body (InfluxDB v2 write API)."""

    NS = "ns"
    US = "us"
    MS = "ms"
    S = "s"


class Aggregate(StrEnum):
    """How the samples of one window become one value.

    `last` and `count` work on every type, the others on numbers; they leave fields of another type out.
    """

    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    LAST = "last"
    SUM = "sum"
    COUNT = "count"


class StoreError(Exception):
    """Base of everything a store can fail with; the message tells the caller what to do."""


@dataclass(frozen=True, slots=True)
class LineError:
    """Why one line was refused: its number in the body (from 1), the reason, and how the line begins."""

    line: int
    reason: str
    text: str


class LinesRejectedError(StoreError):
    """Some lines are wrong and will never be accepted; the good lines of the same body are stored.

    `lines` names them where the store knows them; InfluxDB only tells the first in its message.
    """

    def __init__(self, message: str, lines: Sequence[LineError] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class FieldTypeConflictError(LinesRejectedError):
    """Every line could be read, but some hold a field with another type than the one it was first written with."""


class BodyTooLargeError(StoreError):
    """The store takes no body of this size; send fewer lines at once."""


class StoreUnavailableError(StoreError):
    """The store cannot take or answer now; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreBusyError(StoreUnavailableError):
    """The store works but gets more writes than it can take; try again after `retry_after_s` seconds."""


class TooManySamplesError(StoreError):
    """The answer would hold more samples than the query's limit; ask for less time or for windows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one field at one time (milliseconds since the epoch, UTC)."""

    time_ms: int
    value: Value


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one field of one series (measurement and tag set), oldest first."""

    measurement: str
    field: str
    tags: Mapping[str, str]
    samples: list[Sample]


@dataclass(frozen=True, slots=True)
class RangeQuery:
    """Samples of `measurement` in [start_ms, stop_ms), for all series whose tags include `tags`.

    With `window_ms`, each window that holds samples yields one sample stamped with the window's start; windows are
    aligned to the epoch. `fields` empty means every field. More than `limit` samples in the whole answer are an error,
    so a careless question cannot fill the memory.
    """

    measurement: str
    start_ms: int
    stop_ms: int
    fields: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    window_ms: int | None = None
    aggregate: Aggregate = Aggregate.MEAN
    limit: int | None = None


class TelemetryStore(Protocol):
    """What every telemetry store does. All methods may raise `StoreUnavailableError`."""

    async def open(self) -> None:
        """Prepare the store (files, schema, connection). Called once before anything else."""

    async def close(self) -> None:
        """Release everything; durable writes stay."""

    async def write(self, body: bytes, precision: Precision, encoding: Encoding = "identity") -> None:
        """Store a line protocol body durably; return only then.

        Raises:
            LinesRejectedError: at least one line is wrong; the others are stored.
        """

    async def latest(self, measurement: str, tags: Mapping[str, str] | None = None) -> list[Series]:
        """Newest sample of every field of every series whose tags include `tags`, one sample per `Series`."""

    async def range(self, query: RangeQuery) -> list[Series]:
        """Samples in a time range, optionally aggregated per window; series without samples are left out.

        Raises:
            TooManySamplesError: there are more than the query's limit.
        """

    async def healthy(self) -> bool:
        """Whether the store answers now; never raises."""
