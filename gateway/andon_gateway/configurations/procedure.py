"""How a configuration is carried out: the document is fetched, put to the node in blocks, and the node asked what became of it."""

from __future__ import annotations

import asyncio
import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

from andon_gateway.configurations.status import Before, NodeHealth, Tell, Wait, judge, parse_health
from andon_gateway.orders.requests import NotNowError, answer_text
from andon_gateway.orders.runner import OrderUnusable
from andon_gateway.orders.step import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_gateway.configurations.orders import Configuration, ConfigurationStore
    from andon_gateway.orders.requests import NodeRequests
    from andon_gateway.orders.store import Job

SUCCESS, CLIENT_ERROR = 2, 4
TRY_AGAIN: Final = frozenset({(4, 1), (4, 8), (4, 9)})
"""A person can mend the keys; a transfer was disturbed; another document is on trial. All other 4.xx are the node's refusal."""


class ConfigurationProcedure:
    """A `Procedure` for configurations.

    Args:
        store: The configurations on disk.
        client: HTTP client with base address and token.
        gateway: This gateway's id.
        requests: To the nodes.
    """

    name = "configuration"

    def __init__(
        self, store: ConfigurationStore, client: httpx.AsyncClient, gateway: str, requests: NodeRequests
    ) -> None:
        self._store = store
        self._client = client
        self._base = f"/api/v1/gateways/{gateway}/configurations"
        self._requests = requests

    async def prepare(self, order: Configuration) -> None:
        """Have the document on disk, fetched unless it is there; only the ordered bytes are kept."""
        if await asyncio.wrap_future(self._store.document(order.id)) is not None:
            return
        try:
            response = await self._client.get(f"{self._base}/{order.id}")
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise OrderUnusable("the cloud has no such document any more")
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise NotNowError(f"no document yet ({type(error).__name__}: {error})") from None
        if hashlib.sha256(response.content).hexdigest() != order.sha256:
            raise OrderUnusable("the document that the cloud sent is not the one that it ordered (SHA-256)")
        await asyncio.wrap_future(self._store.keep(order.id, response.content))

    async def turn(self, job: Job[Configuration]) -> Step:
        """See `Procedure.turn`."""
        order = job.order
        health = await self._health(order.node)
        verdict = judge(health, revision=order.revision, before=Before.parse(job.before), told=job.told)
        if isinstance(verdict, Step):
            return verdict
        if isinstance(verdict, Wait):
            raise NotNowError(verdict.why)
        assert isinstance(verdict, Tell)  # noqa: S101 -- nothing else is left
        return await self._tell(job, health)

    async def dropped(self, order: Configuration) -> None:
        """Nothing: a node that has taken one tries it, whatever we say."""

    async def not_needed(self, order: Configuration, rest: Sequence[Configuration]) -> None:
        """Nothing: the document went with its row."""

    def ended(self, order: Configuration) -> None:
        """Nothing is kept in memory."""

    async def _tell(self, job: Job[Configuration], health: NodeHealth) -> Step:
        order = job.order
        document = await asyncio.wrap_future(self._store.document(order.id))
        if document is None:
            raise NotNowError("the cloud has just taken it back")
        before = Before.of(health).text()
        # On disk before it leaves: after a kill the node is asked what became of it, and not told a second time.
        await asyncio.wrap_future(self._store.about_to_tell(order.id, before))
        job.before = before
        path = "config" if order.signature is None else f"config?sig={order.signature}"
        answer = await self._requests.put_in_blocks(order.node, path, document)
        said = answer_text(answer)
        if answer.code[0] == SUCCESS:
            await asyncio.wrap_future(self._store.accepted(order.id))
            job.told = True
            return Step("trial")
        if answer.code[0] == CLIENT_ERROR and answer.code not in TRY_AGAIN:
            return Step("refused", said)
        raise NotNowError(f"the node answered {said}")

    async def _health(self, node: str) -> NodeHealth:
        answer = await self._requests.ask(node, "GET", "health")
        health = parse_health(answer.payload) if answer.code[0] == SUCCESS else None
        if health is None:
            raise NotNowError(f"GET /health was answered with {answer_text(answer)}")
        return health
