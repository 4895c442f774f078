"""Relay commands in a factory: each reaches its machine and no other (one board's commands: test_board_node_commands.py)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S

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
