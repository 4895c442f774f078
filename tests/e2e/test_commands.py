"""A relay command from the API to the contact, and what the machine does then."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S

from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.cloud_api import IssuedCommand
    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs_capability("fleet")]


async def final(factory: Factory, issued: IssuedCommand, limit_s: float = 90.0) -> IssuedCommand:
    end = time.monotonic() + limit_s
    while not issued.final:
        assert time.monotonic() < end, f"still {issued.status} after {limit_s} s"
        await asyncio.sleep(0.05)
        issued = await factory.api.command(issued.id)
    return issued


def contact(factory: Factory, machine: str) -> list[bool]:
    return [change.closed for change in factory.ledger.node(machine).contacts if change.relay == 0]


async def test_commands_reach_the_contact_and_are_confirmed(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=2, seed=21)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        machine = min(factory.boards)
        for state in (False, True, False):
            issued = await factory.api.switch_relay(machine, 0, state=state, lease_s=60, expires_s=30)
            assert (await final(factory, issued)).status == "confirmed"
        assert contact(factory, machine) == [False, True, False]
        other = sorted(factory.boards)[1]
        assert contact(factory, other) == []


async def test_lease_runs_out_and_the_relay_goes_back_by_itself(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=1, seed=22)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        (machine,) = factory.boards
        issued = await factory.api.switch_relay(machine, 0, state=False, lease_s=2, expires_s=30)
        assert (await final(factory, issued)).status == "confirmed"
        # Nobody is left who could renew or end it: the node acts alone.
        await factory.kill_gateway()
        end = time.monotonic() + 60
        while contact(factory, machine) != [False, True]:
            assert time.monotonic() < end, f"contact: {contact(factory, machine)}"
            await asyncio.sleep(0.05)
        opened, closed = (change.time_us for change in factory.ledger.node(machine).contacts)
        # Not before its time; a busy machine may give the board its turn late.
        assert 1.5 <= (closed - opened) / 1e6 <= 20.0


async def test_command_runs_once_through_a_lossy_network(build: Callable[[FactoryPlan], Factory]) -> None:
    impairment = Impairment(loss=0.3, duplicate=0.3, reorder=0.3)
    async with build(FactoryPlan(nodes=1, seed=23, impairment=impairment)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        (machine,) = factory.boards
        wanted = []
        for state in (False, True, False, True):
            issued = await factory.api.switch_relay(machine, 0, state=state, lease_s=300, expires_s=120)
            assert (await final(factory, issued, limit_s=120)).status == "confirmed"
            wanted.append(state)
        assert contact(factory, machine) == wanted


async def test_command_expires_while_the_gateway_is_away(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=1, seed=24)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        (machine,) = factory.boards
        await factory.kill_gateway()
        issued = await factory.api.switch_relay(machine, 0, state=False, lease_s=60, expires_s=2)
        assert (await final(factory, issued)).status == "expired"
        await factory.restart_gateway()
        later = await factory.api.switch_relay(machine, 0, state=True, lease_s=60, expires_s=30)
        assert (await final(factory, later)).status == "confirmed"
        assert contact(factory, machine) == []


async def test_command_accepted_before_a_gateway_kill_runs_once(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=1, seed=25)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        (machine,) = factory.boards
        await factory.power_cut(machine)
        issued = await factory.api.switch_relay(machine, 0, state=False, lease_s=60, expires_s=60)
        end = time.monotonic() + 90
        while issued.status == "queued":
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
            issued = await factory.api.command(issued.id)
        await factory.kill_gateway()
        await factory.restart_gateway()
        await factory.power_on(machine)
        assert (await final(factory, issued, limit_s=90)).status == "confirmed"
        assert contact(factory, machine) == [False]
