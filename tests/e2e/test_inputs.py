"""A digital input from the contact to the store."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S

from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs_capability("fleet")]

ROBOT = "robot-1"


async def door_in_store(factory: Factory, *, is_open: bool, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while True:
        newest = [item.value for item in await factory.api.latest("input") if item.tags["node"] == ROBOT]
        if newest == [is_open]:
            return
        assert time.monotonic() < end, f"the store says {newest}"
        await asyncio.sleep(0.05)


async def test_a_door_is_reported_when_it_moves(build: Callable[[FactoryPlan], Factory]) -> None:
    # Samples are a minute apart: what arrives sooner was sent because it changed.
    async with build(FactoryPlan(nodes=6, seed=31, sample_ms=60_000, sensor_faults=None)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        await door_in_store(factory, is_open=False, limit_s=START_LIMIT_S)
        for is_open in (True, False, True):
            factory.world.stations[ROBOT].move_door(is_open=is_open)
            await door_in_store(factory, is_open=is_open, limit_s=90)
