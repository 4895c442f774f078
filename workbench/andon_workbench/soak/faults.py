"""Carries out the faults of a soak, at their times, on a running factory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from andon_workbench.soak.outputs import Interval
from andon_workbench.soak.plan import Victim
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_workbench.factory import Factory
    from andon_workbench.soak.plan import Fault


class FaultInjector:
    """Kills and restarts. Faults of different victims may overlap; one that hits a dead victim waits until it is back.

    Attributes:
        done: Faults carried out, by victim.
        silences: When the gateway was down.
        powered_us: When each node was powered, in order.
    """

    def __init__(self, factory: Factory, faults: Sequence[Fault], began_s: float) -> None:
        self.done: Counter[Victim] = Counter()
        self.silences: list[Interval] = []
        self.powered_us: dict[str, list[int]] = {node: [0] for node in factory.boards}
        self._factory = factory
        self._began_s = began_s
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks = [asyncio.create_task(self._carry_out(fault), name=f"fault {fault}") for fault in faults]

    @property
    def finished(self) -> bool:
        """Whether all faults are over.

        Raises:
            WorkbenchError: something could not be restarted.
        """
        for task in self._tasks:
            if task.done():
                task.result()
        return all(task.done() for task in self._tasks)

    async def abandon(self) -> None:
        """Stop; what is dead stays dead."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, self._began_s + fault.at_s - time.monotonic()))
        async with self._locks[fault.victim + fault.node]:
            await {Victim.NODE: self._node, Victim.GATEWAY: self._gateway, Victim.CLOUD: self._cloud}[fault.victim](
                fault
            )
            self.done[fault.victim] += 1

    async def _node(self, fault: Fault) -> None:
        await self._factory.power_cut(fault.node)
        await asyncio.sleep(fault.lasts_s)
        self.powered_us[fault.node].append(monotonic_us())
        await self._factory.power_on(fault.node)

    async def _gateway(self, fault: Fault) -> None:
        await self._factory.kill_gateway()
        dead_us = monotonic_us()
        await asyncio.sleep(fault.lasts_s)
        started_us = monotonic_us()
        proxy = self._factory.proxy
        if proxy is not None:
            # What it had said was still on its way.
            dead_us = max(dead_us, round(proxy.passed_down_s * 1_000_000))
        await self._factory.restart_gateway()
        self.silences.append(Interval(dead_us, started_us))

    async def _cloud(self, fault: Fault) -> None:
        await self._factory.kill_cloud()
        await asyncio.sleep(fault.lasts_s)
        await self._factory.restart_cloud()
