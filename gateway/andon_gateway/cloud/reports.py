"""What the gateway tells the cloud by itself, with no promise that it arrives: bytes of updates, and what the nodes run."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from andon_gateway.cloud.stream import CloudChannel
    from andon_gateway.nodes.table import Node, NodeTable
    from andon_gateway.updates.procedure import FirmwareProcedure
    from andon_gateway.uplink.lineprotocol import Asset

log = logging.getLogger(__name__)

NODES_AT_ONCE: Final = 1000
CHECK_S: Final = 2.0
EVERY_S: Final = 60.0
PAUSE_S: Final = 15.0


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

    async def tell_progress(self, updates: FirmwareProcedure) -> None:
        """Tell how many bytes the nodes have; what does not arrive is overtaken by the next."""
        told: dict[str, tuple[int, int | None]] = {}
        while True:
            await asyncio.sleep(CHECK_S)
            told = {update: found for update, found in told.items() if update in updates.progress}
            for update, found in list(updates.progress.items()):
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
