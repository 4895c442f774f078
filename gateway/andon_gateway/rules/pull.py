"""Pulls the rule document from the cloud when its event stream says that there is another one, and tells what became of it."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

import httpx
from pydantic import BaseModel, ConfigDict, Field

from andon_gateway.backoff import Backoff
from andon_gateway.errors import StorageUnavailable
from andon_gateway.rules.document import RulesError

if TYPE_CHECKING:
    from andon_gateway.rules.engine import EdgeRules

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 30.0


class RulesEvent(BaseModel):
    """Data of the stream's `rules` event: the cloud has this document."""

    model_config = ConfigDict(strict=True)
    version: int
    etag: Annotated[str, Field(min_length=1, max_length=200)]


class RulesPull:
    """One task that fetches, checks and puts in force.

    Args:
        client: HTTP client with base address and token.
        gateway: This gateway's id.
        rules: Where documents go.
    """

    def __init__(self, client: httpx.AsyncClient, gateway: str, rules: EdgeRules) -> None:
        self._client = client
        self._path = f"/api/v1/gateways/{gateway}/rules"
        self._rules = rules
        self._wanted = ""
        self._refused = ""
        self._news = asyncio.Event()

    def nudge(self, event: RulesEvent) -> None:
        """The cloud has a document; it is pulled if it is another one."""
        self._wanted = _strong(event.etag)
        self._news.set()

    async def run(self) -> None:
        """Pull for ever."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                if self._wanted != self._rules.etag:
                    await self._pull()
                await self._tell()
                backoff.reset()
            except (httpx.HTTPError, StorageUnavailable) as error:
                pause_s = backoff.next_s()
                log.warning(
                    "cannot pull the rules: retry_in_s=%.1f (%s: %s); version %d stays in force",
                    pause_s,
                    type(error).__name__,
                    error,
                    self._rules.version,
                )
                await asyncio.sleep(pause_s)
                self._news.set()

    async def _pull(self) -> None:
        known = {"If-None-Match": self._rules.etag} if self._rules.etag else {}
        response = await self._client.get(self._path, headers=known)
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            return
        response.raise_for_status()
        self._refused = ""
        try:
            await asyncio.wrap_future(self._rules.replace(response.text, _strong(response.headers.get("etag", ""))))
        except RulesError as error:
            self._refused = str(error)
            # Pulling it again would not help: the cloud says when there is another one.
            log.error("the cloud's rules are refused, version %d stays in force: %s", self._rules.version, error)  # noqa: TRY400 -- the other side's input, a traceback says nothing
            return
        log.info("rules version=%d count=%d are in force", self._rules.version, len(self._rules))

    async def _tell(self) -> None:
        """Tell the cloud what is in force here, at every connect and after every pull."""
        body = {"version": self._rules.version, "rules": len(self._rules), "refused": self._refused[:500]}
        response = await self._client.put(f"{self._path}/status", json=body)
        if HTTPStatus.BAD_REQUEST <= response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("the cloud does not take the rules' status: %d %s", response.status_code, response.text[:200])
            return
        response.raise_for_status()


def _strong(etag: str) -> str:
    """The tag without a proxy's mark that it has compressed the body on the way (RFC 9110 8.8.3)."""
    return etag.removeprefix("W/")
