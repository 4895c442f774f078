"""Carries out firmware updates: fetches the bundle, tells the node, and follows it until the node says how it ended."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import httpx

from andon_gateway.backoff import Backoff
from andon_gateway.errors import StorageUnavailable
from andon_gateway.updates.bundles import BundleFolder, BundleUnusable
from andon_gateway.updates.status import FINAL, NodeStatus, Step, Tell, judge, parse_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_gateway.commands.relay import NodeAnswer
    from andon_gateway.nodes.table import Address, NodeTable
    from andon_gateway.updates.queue import FirmwareUpdate, Job, UpdatesEvent, UpdateStore

log = logging.getLogger(__name__)

LOOK_FIRST_S: Final = 2.0
LOOK_MOST_S: Final = 15.0
"""Between two looks at a node that fetches or tries; a restart of the node registers it and is seen at once."""
RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 60.0
ACK_FIRST_S: Final = 3.0
ACK_MOST_S: Final = 8.0
ANSWER_S: Final = 15.0
SUCCESS, CLIENT_ERROR = 2, 4
CONFLICT: Final = (4, 9)
RESOURCE: Final = "update"


class UpdateClient(Protocol):
    """Sends confirmable requests to nodes from the gateway's own port."""

    async def ask_json(
        self, node: str, address: Address, method: str, path: str, payload: bytes, patience_s: float
    ) -> NodeAnswer:
        """One confirmable message, not repeated.

        Raises:
            OSError: Not acknowledged within `patience_s`, or the node is not there.
        """


class _NotNowError(Exception):
    """The node or the cloud cannot be asked at the moment; the message says why."""


class UpdateRunner:
    """One task per update.

    Args:
        store: The updates on disk.
        bundles: Their files.
        nodes: Addresses, and news about them.
        client: CoAP.
        now_ms: Clock, ms since the epoch.
        on_report: Called when there is something new for the cloud.
    """

    def __init__(
        self,
        store: UpdateStore,
        bundles: BundleFolder,
        nodes: NodeTable,
        client: UpdateClient,
        now_ms: Callable[[], int],
        on_report: Callable[[], None],
    ) -> None:
        self._store = store
        self._bundles = bundles
        self._nodes = nodes
        self._client = client
        self._now_ms = now_ms
        self._on_report = on_report
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self.results: Counter[str] = Counter()
        self.progress: dict[str, tuple[int, int | None]] = {}
        """Bytes that the node has, of how many, of each update that is being fetched."""

    async def resume(self) -> None:
        """Take up the updates that an earlier run left open."""
        for job in await asyncio.wrap_future(self._store.jobs()):
            self._start(job)

    async def take(self, event: UpdatesEvent) -> None:
        """Take the cloud's list: new updates begin, those that are in it no more are dropped.

        Raises:
            StorageUnavailable: It could not be kept; the cloud sends it again.
        """
        gone = await asyncio.wrap_future(self._store.replace(event.updates, self._now_ms()))
        for job in gone:
            self._drop(job)
        jobs = await asyncio.wrap_future(self._store.jobs())
        needed = {job.update.file_name for job in jobs}
        for job in gone:
            if job.update.file_name not in needed:
                await self._bundles.forget(job.update)
        for job in jobs:
            self._start(job)
        self._on_report()

    async def stop(self) -> None:
        """Stop all tasks; open updates stay on disk for the next start."""
        tasks = [*self._tasks.values(), *self._farewells]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, job: Job) -> None:
        if job.open and job.update.id not in self._tasks:
            task = asyncio.create_task(self._carry_out(job), name=f"update {job.update.node}")
            self._tasks[job.update.id] = task

    def _drop(self, job: Job) -> None:
        """The cloud does not want it any more: a node that still fetches is told once, as well as that goes."""
        task = self._tasks.pop(job.update.id, None)
        if task is not None:
            task.cancel()
            farewell = asyncio.create_task(self._cancel_at_node(job.update), name=f"cancelled update {job.update.node}")
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def _cancel_at_node(self, update: FirmwareUpdate) -> None:
        log.info("update id=%s node=%s dropped by the cloud", update.id, update.node)
        with suppress(_NotNowError):
            status = await self._status(update.node)
            if status.name == update.file_name:
                await self._ask(update.node, "DELETE", b"")

    async def _carry_out(self, job: Job) -> None:
        update = job.update
        try:
            end = await self._run(job)
            await self._step(update, end)
            self.results[end.state] += 1
            log.info("update id=%s node=%s result=%s detail=%r", update.id, update.node, end.state, end.detail)
        finally:
            if self._tasks.get(update.id) is asyncio.current_task():
                del self._tasks[update.id]
            self.progress.pop(update.id, None)

    async def _run(self, job: Job) -> Step:
        """Work until the end is known."""
        update = job.update
        pauses, looks = Backoff(RETRY_FIRST_S, RETRY_MOST_S), Backoff(LOOK_FIRST_S, LOOK_MOST_S)
        news = self._nodes.watch(update.node)
        problem, there = "", False
        try:
            while (left_s := (update.expires_ms - self._now_ms()) / 1000) > 0:
                news.clear()
                try:
                    if not there:
                        await self._have_bundle(update)
                        there = True
                    step = await self._turn(job)
                except BundleUnusable as unusable:
                    return Step("failed", str(unusable))
                except (_NotNowError, StorageUnavailable) as failure:
                    problem, pause_s = str(failure), pauses.next_s()
                else:
                    if step.state in FINAL:
                        return step
                    self.progress[update.id] = (step.received, step.total)
                    if step.state != job.state:
                        await self._step(update, step)
                        job.state = step.state
                        looks.reset()
                    pauses.reset()
                    problem, pause_s = "the node did not end it", looks.next_s()
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), min(pause_s, left_s))
        finally:
            self._nodes.unwatch(update.node, news)
        return Step("failed", f"no end of it until it expired: {problem}")

    async def _have_bundle(self, update: FirmwareUpdate) -> None:
        try:
            await self._bundles.provide(update)
        except (httpx.HTTPError, OSError) as error:
            raise _NotNowError(f"no bundle yet ({type(error).__name__}: {error})") from None

    async def _turn(self, job: Job) -> Step:
        """Look at the node, tell it if it does not know; a step says how far it has come."""
        update = job.update
        status = await self._status(update.node)
        verdict = judge(status, name=update.file_name, version=update.version, before=job.before, told=job.told)
        if isinstance(verdict, Step):
            if not job.told and verdict.state not in FINAL:
                await self._accepted(job)
            return verdict
        if not isinstance(verdict, Tell):
            raise _NotNowError(verdict.why)
        await asyncio.wrap_future(self._store.about_to_tell(update.id, status.last))
        job.before = status.last
        body = json.dumps({"name": update.file_name, "version": update.version}, separators=(",", ":"))
        answer = await self._ask(update.node, "PUT", body.encode())
        kind, text = answer.code[0], answer.payload[:200].decode(errors="replace")
        told = f"the node answered {answer.code[0]}.{answer.code[1]:02d} {text}".strip()
        if kind == SUCCESS:
            await self._accepted(job)
            return Step("fetching")
        if kind == CLIENT_ERROR and answer.code != CONFLICT:
            return Step("failed", told)
        raise _NotNowError(told)

    async def _accepted(self, job: Job) -> None:
        await asyncio.wrap_future(self._store.accepted(job.update.id))
        job.told = True

    async def _status(self, node: str) -> NodeStatus:
        answer = await self._ask(node, "GET", b"")
        status = parse_status(answer.payload) if answer.code[0] == SUCCESS else None
        if status is None:
            text = answer.payload[:100].decode(errors="replace")
            raise _NotNowError(f"GET /update was answered with {answer.code[0]}.{answer.code[1]:02d} {text}")
        return status

    async def _ask(self, node: str, method: str, payload: bytes) -> NodeAnswer:
        """One request to the node, repeated once."""
        patience = Backoff(ACK_FIRST_S, ACK_MOST_S)
        problem = "the node has not registered"
        for _ in range(2):
            entry = self._nodes.get(node)
            if entry is None:
                break
            try:
                request = self._client.ask_json(node, entry.address, method, RESOURCE, payload, patience.next_s())
                return await asyncio.wait_for(request, ANSWER_S)
            except (OSError, TimeoutError) as error:
                problem = f"no answer from the node ({error})"
        raise _NotNowError(problem)

    async def _step(self, update: FirmwareUpdate, step: Step) -> None:
        """Note a step, however long the disk takes."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                await asyncio.wrap_future(self._store.step(update.id, step.state, step.detail, self._now_ms()))
                break
            except StorageUnavailable:
                await asyncio.sleep(backoff.next_s())
        self._on_report()
