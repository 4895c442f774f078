"""How a firmware update is carried out: the bundle is fetched, the node told, and looked at until it says how it ended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

import httpx

from andon_gateway.orders.requests import NotNowError, answer_text
from andon_gateway.updates.status import NodeStatus, Progress, Tell, judge, parse_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_gateway.orders.requests import NodeRequests
    from andon_gateway.orders.step import Step
    from andon_gateway.orders.store import Job, OrderStore
    from andon_gateway.updates.bundles import BundleFolder
    from andon_gateway.updates.orders import FirmwareUpdate

SUCCESS, CLIENT_ERROR = 2, 4
CONFLICT: Final = (4, 9)
RESOURCE: Final = "update"


class FirmwareProcedure:
    """A `Procedure` for firmware updates.

    Args:
        store: The updates on disk.
        bundles: Their files.
        requests: To the nodes.
    """

    name = "update"

    def __init__(self, store: OrderStore[FirmwareUpdate], bundles: BundleFolder, requests: NodeRequests) -> None:
        self._store = store
        self._bundles = bundles
        self._requests = requests
        self.progress: dict[str, tuple[int, int | None]] = {}
        """Bytes that the node has, of how many, of each update that is being fetched."""

    async def prepare(self, order: FirmwareUpdate) -> None:
        """Have the bundle in `/fw`."""
        try:
            await self._bundles.provide(order)
        except (httpx.HTTPError, OSError) as error:
            raise NotNowError(f"no bundle yet ({type(error).__name__}: {error})") from None

    async def turn(self, job: Job[FirmwareUpdate]) -> Step:
        """See `Procedure.turn`."""
        step = await self._look(job)
        if step.state not in self._store.final:
            self.progress[job.order.id] = (step.received, step.total)
        return step

    async def dropped(self, order: FirmwareUpdate) -> None:
        """Cancel it at a node that still fetches."""
        status = await self._status(order.node)
        if status.name == order.file_name:
            await self._requests.ask(order.node, "DELETE", RESOURCE)

    async def not_needed(self, order: FirmwareUpdate, rest: Sequence[FirmwareUpdate]) -> None:
        """Remove the bundle unless another update needs it."""
        if order.file_name not in {other.file_name for other in rest}:
            await self._bundles.forget(order)

    def ended(self, order: FirmwareUpdate) -> None:
        """Its progress is of no interest any more."""
        self.progress.pop(order.id, None)

    async def _look(self, job: Job[FirmwareUpdate]) -> Progress:
        update = job.order
        status = await self._status(update.node)
        verdict = judge(status, name=update.file_name, version=update.version, before=job.before, told=job.told)
        if isinstance(verdict, Progress):
            if not job.told and verdict.state not in self._store.final:
                await self._accepted(job)
            return verdict
        if not isinstance(verdict, Tell):
            raise NotNowError(verdict.why)
        await asyncio.wrap_future(self._store.about_to_tell(update.id, status.last))
        job.before = status.last
        body = json.dumps({"name": update.file_name, "version": update.version}, separators=(",", ":"))
        answer = await self._requests.ask(update.node, "PUT", RESOURCE, body.encode())
        said = f"the node answered {answer_text(answer)}"
        if answer.code[0] == SUCCESS:
            await self._accepted(job)
            return Progress("fetching")
        if answer.code[0] == CLIENT_ERROR and answer.code != CONFLICT:
            return Progress("failed", said)
        raise NotNowError(said)

    async def _accepted(self, job: Job[FirmwareUpdate]) -> None:
        await asyncio.wrap_future(self._store.accepted(job.order.id))
        job.told = True

    async def _status(self, node: str) -> NodeStatus:
        answer = await self._requests.ask(node, "GET", RESOURCE)
        status = parse_status(answer.payload) if answer.code[0] == SUCCESS else None
        if status is None:
            raise NotNowError(f"GET /update was answered with {answer_text(answer)}")
        return status
