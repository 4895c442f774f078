"""A gateway that starts with a dead clock, before boards that know the time: nothing is lost, and nothing is dated wrong."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from e2e.limits import DRAIN_LIMIT_S, START_LIMIT_S
from e2e.test_exactly_once import readings_taken
from gateway.shifted_clock import DAY_MS, ShiftedClock, compiled

from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs_capability("fleet")]
LIMIT_S = 120.0


async def told_to_wait(factory: Factory, times: int) -> None:
    """Wait until the gateway has postponed packs for its clock."""
    host, port = factory.gateway.address("http")
    end = time.monotonic() + LIMIT_S
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=60) as http:
        while True:
            page = (await http.get("/metrics")).text
            wanted = 'andon_gateway_postponed_packs_total{reason="clock"} '
            counts = [float(line.removeprefix(wanted)) for line in page.splitlines() if line.startswith(wanted)]
            if counts and counts[0] >= times:
                return
            assert time.monotonic() < end, f"{counts} packs were postponed in {LIMIT_S} s"
            await asyncio.sleep(0.1)


async def test_a_dead_clock_at_the_gateway_costs_no_reading(
    build: Callable[[FactoryPlan], Factory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ShiftedClock(compiled(tmp_path), tmp_path)
    async with build(FactoryPlan(nodes=2, seed=17)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        await factory.kill_gateway()
        clock.set(-40 * DAY_MS)
        with monkeypatch.context() as shifted:  # of the gateway alone: the others are running already
            for name, value in clock.environment.items():
                shifted.setenv(name, value)
            await factory.restart_gateway()
        await told_to_wait(factory, 2)
        await readings_taken(factory, 4)
        clock.set(0)
        await readings_taken(factory, 4)
        result = await factory.drain(DRAIN_LIMIT_S)
        assert result.differences == ()
        assert result.taken == result.stored >= 10
