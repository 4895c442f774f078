"""The channel to the cloud: its event stream in, reports about commands out. The gateway always calls, never listens."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse
from pydantic import ValidationError

from andon_gateway.backoff import Backoff
from andon_gateway.cloud.delivery import ReportDelivery
from andon_gateway.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from andon_gateway.cloud.events import Taker
    from andon_gateway.commands.queue import CommandStore, Origin, RelayCommand, Report

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 10.0
QUARANTINE_CHECK_S: Final = 2.0
QUARANTINE_EVERY_S: Final = 60.0
QUARANTINE_RETRY_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """How long to wait for the cloud, in seconds.

    Attributes:
        call_s: For a connection, or an answer to begin.
        silence_s: Silence after which the stream counts as dead; longer than the cloud's keep-alive.
    """

    call_s: float
    silence_s: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Who is heard here and cannot report: nodes without a place, and keys that are not here (bodies of docs/protocol.md)."""

    nodes: list[dict[str, Any]]
    keys: list[dict[str, Any]]

    def who(self) -> list[str]:
        """What a change of which is news; empty when there is nobody."""
        return [f"node {item['node']} {sorted(item['sent'])}" for item in self.nodes] + [
            f"keys {item['kid']} {item['address']}" for item in self.keys
        ]


class CloudChannel:
    """Keeps the stream open.

    Attributes:
        reports: About commands; to be delivered by a task of its own.

    Args:
        client: HTTP client with base address and token.
        gateway: This gateway's id.
        timeouts: How long to wait for the cloud.
        store: Reports to deliver.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        gateway: str,
        timeouts: StreamTimeouts,
        store: CommandStore,
    ) -> None:
        self._client = client
        self._base = f"/api/v1/gateways/{gateway}"
        self._timeout = httpx.Timeout(timeouts.call_s, read=timeouts.silence_s)
        self.reports: ReportDelivery[Report] = ReportDelivery("command", store, self._post)
        self.connected = False
        self.connects = 0

    async def follow(self, takers: Mapping[str, Taker]) -> None:
        """Read the stream for ever, connecting again with growing pauses."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                await self._read_stream(takers, backoff)
                reason = "the cloud closed the stream"
            except (httpx.HTTPError, SSEError, StorageUnavailable) as error:
                reason = f"{type(error).__name__}: {error}"
            self.connected = False
            pause_s = backoff.next_s()
            log.warning("no command stream: reconnect_in_s=%.1f (%s)", pause_s, reason)
            await asyncio.sleep(pause_s)

    async def _read_stream(self, takers: Mapping[str, Taker], backoff: Backoff) -> None:
        async with aconnect_sse(self._client, "GET", f"{self._base}/stream", timeout=self._timeout) as source:
            source.response.raise_for_status()
            self.connected = True
            self.connects += 1
            log.info("command stream connected")
            async for event in source.aiter_sse():
                backoff.reset()
                await self._handle(event, takers.get(event.event))

    async def _handle(self, event: ServerSentEvent, taker: Taker | None) -> None:
        """Act on one event; one that cannot be read is logged and changes nothing."""
        if taker is None:
            log.warning("unknown stream event %r ignored", event.event)
            return
        try:
            await taker(event.data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            log.error("stream event %r (id %r) ignored: %s: %s", event.event, event.id, key, first["msg"])  # noqa: TRY400 -- the other side's input, a traceback says nothing

    async def report_quarantine(self, unknown: Callable[[], Quarantine]) -> None:
        """Tell the cloud for ever which unknown nodes wait here: when their set changes, after a reconnect, and now and then."""
        told: tuple[list[str], int] | None = None
        told_s = 0.0
        while True:
            await asyncio.sleep(QUARANTINE_CHECK_S)
            quarantine = unknown()
            state = (quarantine.who(), self.connects)
            now_s = asyncio.get_running_loop().time()
            due = now_s - told_s >= QUARANTINE_EVERY_S and state[0]
            if not self.connected or (state == told and not due) or (told is None and not state[0]):
                continue
            told_s = now_s
            try:
                response = await self._client.post(f"{self._base}/quarantine", json=asdict(quarantine))
                response.raise_for_status()
                told = state
            except httpx.HTTPError as error:
                log.warning("cannot tell the cloud about unknown nodes (%s: %s)", type(error).__name__, error)
                await asyncio.sleep(QUARANTINE_RETRY_S)

    async def _post(self, report: Report) -> httpx.Response:
        if report.declared is not None:
            return await self._declare(report, *report.declared)
        body = {"state": report.state, "at_ms": report.at_ms, "contact": report.contact, "detail": report.detail}
        return await self._client.post(f"{self._base}/commands/{report.command}/events", json=body)

    async def _declare(self, report: Report, command: RelayCommand, origin: Origin) -> httpx.Response:
        """Tell the cloud of a command that a rule issued here, for its audit log."""
        body = command.model_dump(exclude={"id"}) | {
            "rule": origin.rule,
            "reason": origin.reason,
            "at_ms": report.at_ms,
        }
        return await self._client.put(f"{self._base}/commands/{report.command}", json=body)
