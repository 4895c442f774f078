"""Cuts the database off for a third of the time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from andon_workbench.chaos.plan import Cut
from andon_workbench.faults.tcp_gate import GateState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from andon_workbench.chaos.factory import ChaosFactory

_STATES = {Cut.REFUSED: GateState.REFUSED, Cut.SILENT: GateState.SILENT}


class Cutter:
    """Open as long as the next cut will last, cut, open as long as it lasted, and so on.

    Attributes:
        done: Cuts, by kind.
        away_s: How long the database was away in all.
        over_s: How long `run` has been running.
    """

    def __init__(self, factory: ChaosFactory, cuts: Iterator[tuple[Cut, float]]) -> None:
        self.done: Counter[Cut] = Counter()
        self.away_s = 0.0
        self.over_s = 0.0
        self._factory = factory
        self._cuts = cuts

    async def run(self, enough: asyncio.Event) -> None:
        """Cut off and mend until `enough` is set; ends with the database back.

        Raises:
            ComponentError: the database's process could not be started again.
        """
        began = time.monotonic()
        for cut, lasts_s in self._cuts:
            if await _wait(enough, lasts_s):
                break
            away_since = time.monotonic()
            await self._off(cut)
            await _wait(enough, lasts_s)
            await self._on(cut)
            away_s = time.monotonic() - away_since
            self.done[cut] += 1
            self.away_s += away_s
            # A process takes its time to come back; the open time is as much longer.
            if await _wait(enough, away_s):
                break
        self.over_s = time.monotonic() - began

    async def _off(self, cut: Cut) -> None:
        if cut is Cut.DEAD:
            await self._factory.stop_database()
        else:
            self._factory.database_gate.set(_STATES[cut])

    async def _on(self, cut: Cut) -> None:
        if cut is Cut.DEAD:
            await self._factory.start_database()
        else:
            self._factory.database_gate.set(GateState.OPEN)


async def _wait(enough: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until it is enough; whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await enough.wait()
    except TimeoutError:
        return False
    return True
