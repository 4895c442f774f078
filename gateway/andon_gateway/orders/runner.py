"""Carries out the orders of one kind, one task each, and follows every one until its end is known."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, Protocol

from andon_gateway.backoff import Backoff
from andon_gateway.errors import GatewayError, StorageUnavailable
from andon_gateway.orders.requests import NotNowError
from andon_gateway.orders.step import Step
from andon_gateway.orders.store import Job, O, OrderStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.nodes.table import NodeTable

log = logging.getLogger(__name__)

LOOK_FIRST_S: Final = 2.0
LOOK_MOST_S: Final = 15.0
"""Between two looks at a node that is at work; a restart of the node registers it and is seen at once."""
RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 60.0


class OrderUnusable(GatewayError):  # noqa: N818 -- names what is wrong with the order, not a fault of ours
    """The cloud does not have what it ordered, or has something else under its name: trying again is useless."""


class Procedure(Protocol[O]):
    """How one kind of orders is carried out."""

    name: str
    """What people call one."""

    async def prepare(self, order: O) -> None:
        """Have what the order needs from the cloud.

        Raises:
            OrderUnusable: It never will be.
            NotNowError: Not now.
        """

    async def turn(self, job: Job[O]) -> Step:
        """Look at the node and tell it if it does not know; a step says how far it has come.

        Raises:
            NotNowError: Nothing can be said now.
        """

    async def dropped(self, order: O) -> None:
        """The cloud does not want it any more while it was under way; what goes wrong is of no consequence."""

    async def not_needed(self, order: O, rest: Sequence[O]) -> None:
        """An order is gone; `rest` are still there."""

    def ended(self, order: O) -> None:
        """Nothing more is done about it."""


class OrderRunner(Generic[O]):
    """One task per order.

    Args:
        store: The orders on disk.
        procedure: What is done for one.
        nodes: News about the nodes.
        now_ms: Clock, ms since the epoch.
        on_report: Called when there is something new for the cloud.
    """

    def __init__(
        self,
        store: OrderStore[O],
        procedure: Procedure[O],
        nodes: NodeTable,
        now_ms: Callable[[], int],
        on_report: Callable[[], None],
    ) -> None:
        self._store = store
        self._procedure = procedure
        self._nodes = nodes
        self._now_ms = now_ms
        self._on_report = on_report
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self.results: Counter[str] = Counter()

    async def resume(self) -> None:
        """Take up the orders that an earlier run left open."""
        for job in await asyncio.wrap_future(self._store.jobs()):
            self._start(job)

    async def take(self, orders: Sequence[O]) -> None:
        """Take the cloud's list: new orders begin, those that are in it no more are dropped.

        Raises:
            StorageUnavailable: It could not be kept; the cloud sends it again.
        """
        gone = await asyncio.wrap_future(self._store.replace(orders, self._now_ms()))
        for job in gone:
            self._drop(job.order)
        jobs = await asyncio.wrap_future(self._store.jobs())
        for job in gone:
            await self._procedure.not_needed(job.order, [other.order for other in jobs])
        for job in jobs:
            self._start(job)
        self._on_report()

    async def stop(self) -> None:
        """Stop all tasks; open orders stay on disk for the next start."""
        tasks = [*self._tasks.values(), *self._farewells]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, job: Job[O]) -> None:
        if job.state not in self._store.final and job.order.id not in self._tasks:
            task = asyncio.create_task(self._carry_out(job), name=f"{self._procedure.name} {job.order.node}")
            self._tasks[job.order.id] = task

    def _drop(self, order: O) -> None:
        """The cloud does not want it any more: a node that is at work is told once, as well as that goes."""
        task = self._tasks.pop(order.id, None)
        if task is not None:
            task.cancel()
            log.info("%s id=%s node=%s dropped by the cloud", self._procedure.name, order.id, order.node)
            farewell = asyncio.create_task(self._farewell(order), name=f"dropped {self._procedure.name} {order.node}")
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def _farewell(self, order: O) -> None:
        with suppress(NotNowError):
            await self._procedure.dropped(order)

    async def _carry_out(self, job: Job[O]) -> None:
        order, name = job.order, self._procedure.name
        try:
            end = await self._run(job)
            await self._step(order, end)
            self.results[end.state] += 1
            log.info("%s id=%s node=%s result=%s detail=%r", name, order.id, order.node, end.state, end.detail)
        finally:
            if self._tasks.get(order.id) is asyncio.current_task():
                del self._tasks[order.id]
            self._procedure.ended(order)

    async def _run(self, job: Job[O]) -> Step:
        """Work until the end is known."""
        order = job.order
        pauses, looks = Backoff(RETRY_FIRST_S, RETRY_MOST_S), Backoff(LOOK_FIRST_S, LOOK_MOST_S)
        news = self._nodes.watch(order.node)
        problem, prepared = "", False
        try:
            while (left_s := (order.expires_ms - self._now_ms()) / 1000) > 0:
                news.clear()
                try:
                    if not prepared:
                        await self._procedure.prepare(order)
                        prepared = True
                    step = await self._procedure.turn(job)
                except OrderUnusable as unusable:
                    return Step("failed", str(unusable))
                except (NotNowError, StorageUnavailable) as failure:
                    problem, pause_s = str(failure), pauses.next_s()
                else:
                    if step.state in self._store.final:
                        return step
                    if step.state != job.state:
                        await self._step(order, step)
                        job.state = step.state
                        looks.reset()
                    pauses.reset()
                    problem, pause_s = "the node did not end it", looks.next_s()
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), min(pause_s, left_s))
        finally:
            self._nodes.unwatch(order.node, news)
        return Step("failed", f"no end of it until it expired: {problem}")

    async def _step(self, order: O, step: Step) -> None:
        """Note a step, however long the disk takes."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                await asyncio.wrap_future(self._store.step(order.id, step.state, step.detail, self._now_ms()))
                break
            except StorageUnavailable:
                await asyncio.sleep(backoff.next_s())
        self._on_report()
