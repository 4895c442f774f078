"""Delivers reports: each until the cloud has taken it, those of one order in their order, and none of them holds up the others."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import httpx

from andon_gateway.backoff import Backoff
from andon_gateway.cloud.turns import ReportTurns
from andon_gateway.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from concurrent.futures import Future

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 10.0
REPORTS_AT_ONCE: Final = 100
_TRY_AGAIN: Final = frozenset({401, 403, 408, 425, 429})  # 401 and 403: a person will mend the token


class AnyReport(Protocol):
    """One report."""

    @property
    def order(self) -> str:
        """What it is about; its reports are sent in their order."""

    @property
    def state(self) -> str:
        """What it says."""


R = TypeVar("R", bound=AnyReport)


class ReportStore(Protocol[R]):
    """Reports on disk."""

    def pending_reports(self, most: int, without: Collection[str] = ()) -> Future[list[R]]:
        """Reports that the cloud has not taken yet, oldest first, but for those of some orders."""

    def delivered(self, report: R) -> Future[None]:
        """The cloud has taken the report."""


class ReportDelivery(Generic[R]):
    """The reports of one kind.

    Args:
        kind: For people and metrics.
        store: The reports.
        post: Sends one.
    """

    def __init__(self, kind: str, store: ReportStore[R], post: Callable[[R], Awaitable[httpx.Response]]) -> None:
        self.kind = kind
        self._store = store
        self._post = post
        self._news = asyncio.Event()
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        self.turns = ReportTurns()
        self.failures = 0
        """Answers with which the cloud failed on a report."""

    def wake(self) -> None:
        """There is a new report."""
        self._news.set()

    async def deliver(self) -> None:
        """Post reports for ever, oldest first but for those on which the cloud fails."""
        while True:
            self._news.clear()
            try:
                wait_s = await self._round()
            except (httpx.HTTPError, StorageUnavailable) as error:
                await self._pause(f"{type(error).__name__}: {error}")
                continue
            if wait_s != 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), wait_s)

    async def _round(self) -> float | None:
        """Send what there is, up to the first failure; seconds until there is more, 0: perhaps now, None: when it comes."""
        now_s = asyncio.get_running_loop().time()
        reports = await asyncio.wrap_future(self._store.pending_reports(REPORTS_AT_ONCE, self.turns.waiting(now_s)))
        if len(reports) < REPORTS_AT_ONCE:
            self.turns.only({report.order for report in reports}, now_s)
        if not reports:
            return self.turns.nothing_else(now_s)
        for report in reports:
            response = await self._post(report)
            now_s = asyncio.get_running_loop().time()
            if _failed_on_it(response):
                await self._failed(report, response, now_s)
                break
            _taken_or_refused(response, f"{report.state} of {self.kind} {report.order}")
            await asyncio.wrap_future(self._store.delivered(report))
            self.turns.taken(report.order, now_s)
            self._tell_put_back()
            self._backoff.reset()
        return 0.0

    async def _failed(self, report: R, response: httpx.Response, now_s: float) -> None:
        self.failures += 1
        if self.turns.failed(report.order, now_s):
            self._tell_put_back()
            await asyncio.sleep(RETRY_FIRST_S)
        else:
            await self._pause(f"{report.state} of {report.order}: {response.status_code} {response.text[:200]}")

    async def _pause(self, reason: str) -> None:
        pause_s = self._backoff.next_s()
        log.warning("cannot report on %ss: retry_in_s=%.1f (%s)", self.kind, pause_s, reason)
        await asyncio.sleep(pause_s)

    def _tell_put_back(self) -> None:
        for order in self.turns.newly_put_back():
            log.error("the cloud takes other reports, but fails on those of %s %s: they wait and are tried now and then", self.kind, order)  # fmt: skip


def _failed_on_it(response: httpx.Response) -> bool:
    """Whether it may be for this report that the cloud failed; 503 says that it is for all."""
    server_error = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return server_error and response.status_code != HTTPStatus.SERVICE_UNAVAILABLE


def _taken_or_refused(response: httpx.Response, what: str) -> None:
    """Return when a report need not be sent again: the cloud has it, or refuses it for good, which the log says.

    Raises:
        httpx.HTTPStatusError: It is to be sent again.
    """
    refused = HTTPStatus.BAD_REQUEST <= response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
    if refused and response.status_code not in _TRY_AGAIN:
        # Repeating it would not help: the cloud does not know the order or cannot read the report.
        log.error("the cloud refuses report %s: %s", what, response.text[:200])
        return
    response.raise_for_status()
