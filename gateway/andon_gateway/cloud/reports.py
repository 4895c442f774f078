"""What the gateway tells the cloud by itself: how updates go, and what the nodes run."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx

from andon_gateway.backoff import Backoff
from andon_gateway.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from andon_gateway.cloud.stream import CloudChannel
    from andon_gateway.nodes.table import Node, NodeTable
    from andon_gateway.updates.queue import UpdateReport, UpdateStore
    from andon_gateway.updates.updater import UpdateRunner
    from andon_gateway.uplink.lineprotocol import Asset

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 10.0
REPORTS_AT_ONCE: Final = 100
NODES_AT_ONCE: Final = 1000
CHECK_S: Final = 2.0
EVERY_S: Final = 60.0
PAUSE_S: Final = 15.0
_TRY_AGAIN: Final = frozenset({401, 403, 408, 425, 429})  # 401 and 403: a person will mend the token


class CloudReports:
    """Loops of the gateway's channel, each for ever.

    Args:
        client: HTTP client with base address and token.
        gateway: This gateway's id.
        channel: Says whether the cloud is there, and how often it came back.
    """

    def __init__(self, client: httpx.AsyncClient, gateway: str, channel: CloudChannel) -> None:
        self._client = client
        self._base = f"/api/v1/gateways/{gateway}"
        self._channel = channel
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is a new report about an update."""
        self._news.set()

    async def deliver_updates(self, store: UpdateStore) -> None:
        """Post what became of updates, oldest first, each report until the cloud has taken it."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            self._news.clear()
            try:
                reports = await asyncio.wrap_future(store.pending_reports(REPORTS_AT_ONCE))
                for report in reports:
                    await self._post_update(report)
                    await asyncio.wrap_future(store.delivered(report))
                    backoff.reset()
            except (httpx.HTTPError, StorageUnavailable) as error:
                pause_s = backoff.next_s()
                log.warning("cannot report on updates: retry_in_s=%.1f (%s: %s)", pause_s, type(error).__name__, error)
                await asyncio.sleep(pause_s)
                continue
            if not reports:
                await self._news.wait()

    async def _post_update(self, report: UpdateReport) -> None:
        body = {"state": report.state, "at_ms": report.at_ms, "detail": report.detail}
        response = await self._client.post(f"{self._base}/updates/{report.update}/events", json=body)
        refused = HTTPStatus.BAD_REQUEST <= response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        if refused and response.status_code not in _TRY_AGAIN:
            log.error("the cloud refuses report %s of update %s: %s", report.state, report.update, response.text[:200])
            return
        response.raise_for_status()

    async def tell_progress(self, runner: UpdateRunner) -> None:
        """Tell how many bytes the nodes have; what does not arrive is overtaken by the next."""
        told: dict[str, tuple[int, int | None]] = {}
        while True:
            await asyncio.sleep(CHECK_S)
            told = {update: found for update, found in told.items() if update in runner.progress}
            for update, found in list(runner.progress.items()):
                if found == told.get(update) or not self._channel.connected:
                    continue
                body = {"received": found[0], "total": found[1]}
                try:
                    await self._client.post(f"{self._base}/updates/{update}/progress", json=body)
                    told[update] = found
                except httpx.HTTPError as error:
                    log.debug("progress not told (%s: %s)", type(error).__name__, error)

    async def report_nodes(self, nodes: NodeTable, assets: Callable[[], Mapping[str, Asset]]) -> None:
        """Tell what the mounted nodes run and when they were heard: at once what changed, all after a reconnect and now and then."""
        told: dict[str, tuple[str | None, int | None]] = {}
        connects, told_s = 0, 0.0
        while True:
            await asyncio.sleep(CHECK_S)
            if not self._channel.connected:
                continue
            now_s = asyncio.get_running_loop().time()
            if self._channel.connects != connects or now_s - told_s >= EVERY_S:
                told, told_s = {}, now_s
            connects = self._channel.connects
            mounted = assets()
            due = {name: node for name, node in nodes.items() if name in mounted and _says(node) != told.get(name)}
            try:
                for part in _parts(due, NODES_AT_ONCE):
                    body = {"nodes": [_node_body(name, due[name]) for name in part]}
                    response = await self._client.post(f"{self._base}/nodes", json=body)
                    response.raise_for_status()
                    told.update({name: _says(due[name]) for name in part})
            except httpx.HTTPError as error:
                log.warning("cannot tell the cloud about nodes (%s: %s)", type(error).__name__, error)
                await asyncio.sleep(PAUSE_S)


def _says(node: Node) -> tuple[str | None, int | None]:
    return node.software.version, node.software.revision


def _node_body(name: str, node: Node) -> dict[str, Any]:
    version, revision = _says(node)
    return {"node": name, "version": version, "revision": revision, "seen_ms": node.seen_ms}


def _parts(names: Iterable[str], most: int) -> list[list[str]]:
    every = list(names)
    return [every[at : at + most] for at in range(0, len(every), most)]
