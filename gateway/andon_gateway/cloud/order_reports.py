"""Tells the cloud what became of its orders: each report until the cloud has taken it."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx

from andon_gateway.backoff import Backoff
from andon_gateway.errors import StorageUnavailable

if TYPE_CHECKING:
    from andon_gateway.orders.store import OrderStore

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 10.0
REPORTS_AT_ONCE: Final = 100
_TRY_AGAIN: Final = frozenset({401, 403, 408, 425, 429})  # 401 and 403: a person will mend the token


def taken_or_refused(response: httpx.Response, what: str) -> None:
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


class OrderReports:
    """The reports about the orders of one kind.

    Args:
        client: HTTP client with base address and token.
        path: Of the orders in the cloud's API for this gateway.
        store: The orders.
    """

    def __init__(self, client: httpx.AsyncClient, path: str, store: OrderStore[Any]) -> None:
        self._client = client
        self._path = path
        self._store = store
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is a new report."""
        self._news.set()

    async def deliver(self) -> None:
        """Post reports for ever, oldest first."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            self._news.clear()
            try:
                reports = await asyncio.wrap_future(self._store.pending_reports(REPORTS_AT_ONCE))
                for report in reports:
                    body = {"state": report.state, "at_ms": report.at_ms, "detail": report.detail}
                    response = await self._client.post(f"{self._path}/{report.order}/events", json=body)
                    taken_or_refused(response, f"{report.state} of {report.order}")
                    await asyncio.wrap_future(self._store.delivered(report))
                    backoff.reset()
            except (httpx.HTTPError, StorageUnavailable) as error:
                pause_s = backoff.next_s()
                log.warning("cannot report to %s: retry_in_s=%.1f (%s: %s)", self._path, pause_s, type(error).__name__, error)  # fmt: skip
                await asyncio.sleep(pause_s)
                continue
            if not reports:
                await self._news.wait()
