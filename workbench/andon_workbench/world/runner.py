"""Runs the world in real time: every station takes a step every few milliseconds, edges carry their exact times."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from andon_workbench.world.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.world.station import Station

# Five milliseconds: a contact appears late by at most one step, which the command latency includes.
STEP_S = 0.005


def monotonic_us() -> int:
    """The host's CLOCK_MONOTONIC in microseconds: the clock of the register file."""
    return time.monotonic_ns() // 1000


class World:
    """All stations and their ledger."""

    def __init__(self, clock_us: Callable[[], int] = monotonic_us, step_s: float = STEP_S) -> None:
        self.ledger = Ledger()
        self.stations: dict[str, Station] = {}
        self._clock_us = clock_us
        self._step_s = step_s

    def add(self, node: str, station: Station) -> None:
        """Put a station into the world; it must write to this world's ledger."""
        self.stations[node] = station

    def step(self) -> None:
        """Let every station live until now."""
        now_us = self._clock_us()
        for station in self.stations.values():
            station.step(now_us)

    async def run(self) -> None:
        """Step for ever; end it by cancelling."""
        while True:
            self.step()
            await asyncio.sleep(self._step_s)

    def cut_power(self, node: str) -> None:
        """A node and its machine lose their power now; the node has stopped already."""
        self.stations[node].cut_power(self._clock_us())

    def shut_down_machines(self) -> None:
        """End of work at every machine."""
        for station in self.stations.values():
            station.shut_down()

    def unplug_sensors(self) -> None:
        """Unplug every sensor, so that no more readings are taken."""
        for station in self.stations.values():
            station.unplug_sensor()

    @property
    def quiet(self) -> bool:
        """Whether every machine was shut down and its last pulse is over."""
        return all(station.machine.quiet for station in self.stations.values())

    def close(self) -> None:
        """Release the register files."""
        for station in self.stations.values():
            station.registers.close()
