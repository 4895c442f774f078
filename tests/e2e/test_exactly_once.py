"""Kill what can be killed, lose what can be lost: in the end the store holds exactly what happened."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from e2e.limits import DRAIN_LIMIT_S, START_LIMIT_S

from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs_capability("fleet")]


async def readings_taken(factory: Factory, more: int, limit_s: float = 120.0) -> None:
    """Wait until the boards have taken `more` readings from now on."""
    target = factory.ledger.taken + more
    end = time.monotonic() + limit_s
    while factory.ledger.taken < target:
        assert time.monotonic() < end, f"only {factory.ledger.taken} of {target} readings were taken in {limit_s} s"
        factory.nodes.check()
        await asyncio.sleep(0.05)


async def assert_store_equals_ledger(factory: Factory, *, least: int) -> None:
    result = await factory.drain(DRAIN_LIMIT_S)
    assert result.differences == ()
    assert result.taken == result.stored >= least
    assert result.cycles_true == result.cycles_stored > 0


async def test_gateway_killed_and_restarted(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=3, seed=11)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        for _ in range(3):
            await readings_taken(factory, 7)
            await factory.kill_gateway()
            # The machines go on meanwhile; the nodes keep what they measure.
            await readings_taken(factory, 6)
            await factory.restart_gateway()
        await readings_taken(factory, 6)
        await assert_store_equals_ledger(factory, least=45)


async def test_cloud_killed_and_restarted(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=3, seed=12)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        for _ in range(2):
            await readings_taken(factory, 6)
            await factory.kill_cloud()
            await readings_taken(factory, 9)
            await factory.restart_cloud()
        await readings_taken(factory, 6)
        await assert_store_equals_ledger(factory, least=36)


async def test_datagrams_lost_doubled_and_overtaken(build: Callable[[FactoryPlan], Factory]) -> None:
    impairment = Impairment(loss=0.2, duplicate=0.2, delay_s=0.05, reorder=0.2)
    async with build(FactoryPlan(nodes=3, seed=14, impairment=impairment)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        await readings_taken(factory, 45, limit_s=120)
        assert factory.proxy is not None
        assert factory.proxy.counts.lost["up"] > 0
        assert factory.proxy.counts.doubled["up"] > 0
        # The link heals, as the last repeat of an exchange may otherwise be a minute away (RFC 7252 4.8.2).
        factory.impair(Impairment())
        await assert_store_equals_ledger(factory, least=45)


async def test_power_cut_of_a_node(build: Callable[[FactoryPlan], Factory]) -> None:
    """Without a flash journal a power cut may cost what was not yet answered, and nothing is ever counted twice."""
    async with build(FactoryPlan(nodes=2, seed=15)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        await readings_taken(factory, 6)
        victim = min(factory.boards)
        await factory.power_cut(victim)
        await factory.power_on(victim)
        await readings_taken(factory, 8)
        # What the cut has cost stays missing: wait until nothing else is.
        end = time.monotonic() + DRAIN_LIMIT_S
        result = await factory.drain(limit_s=5.0)
        while {difference.node for difference in result.differences} - {victim} and time.monotonic() < end:
            result = await factory.drain(limit_s=5.0)
        assert result.duplicates == 0
        assert {difference.node for difference in result.differences} <= {victim}
        readings = [item for item in result.differences if item.quantity == "temperature"]
        assert sum(item.missing for item in readings) <= 2
        boots = {
            newest.tags["node"]: newest.value for newest in await factory.api.latest("node") if newest.field == "boots"
        }
        assert boots[victim] == 2
        assert all(boots[node] == 1 for node in factory.boards if node != victim)
