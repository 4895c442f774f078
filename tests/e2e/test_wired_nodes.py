"""Nodes on serial cables (slipmux): the same guarantees as over Wi-Fi, with lost bytes, noise and pulled plugs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S
from e2e.test_exactly_once import assert_store_equals_ledger, readings_taken

from andon_workbench.faults.serial_cable import CableFaults
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs_capability("fleet")]


async def test_lost_bytes_and_noise(build: Callable[[FactoryPlan], Factory]) -> None:
    faults = CableFaults(loss=0.001, noise=0.2)
    async with build(FactoryPlan(nodes=3, seed=21, wired=2, cable_faults=faults)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        await readings_taken(factory, 45, limit_s=120)
        # Which bytes are lost is drawn: go on until each cable has lost some and added some, so that neither passes untried.
        for _ in range(20):
            if all(cable.counts.lost and cable.counts.added for cable in factory.cables.values()):
                break
            await readings_taken(factory, 6)
        for cable in factory.cables.values():
            assert cable.counts.lost > 0
            assert cable.counts.added > 0
            # The cable heals, as the last repeat of an exchange may otherwise be long in coming.
            cable.faults = CableFaults()
        await assert_store_equals_ledger(factory, least=45)


async def test_pulled_plug_and_killed_gateway(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=2, seed=22, wired=2)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        first, second = factory.cables.values()
        first.unplug()
        await readings_taken(factory, 6)
        await factory.kill_gateway()
        await readings_taken(factory, 2)
        await factory.restart_gateway()
        second.unplug()
        await readings_taken(factory, 2)
        first.plug()
        second.plug()
        await readings_taken(factory, 4)
        await assert_store_equals_ledger(factory, least=14)
