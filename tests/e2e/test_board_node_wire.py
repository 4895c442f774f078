"""The rung's board as a wired node: the same firmware, its data line (slipmux) instead of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from e2e.board_node import MACHINE, NODE, cycles, final, output_is, provision, readings_more
from e2e.board_tools import until

from andon_workbench.checkout import find_checkout
from andon_workbench.factory import Factory
from andon_workbench.plan import FactoryPlan
from andon_workbench.rungs.capability import Capability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console", "node", "network", "wire", "outputs", "cycles"),
]


@pytest_asyncio.fixture(loop_scope="session")
async def wired(node: Bench, hall: Factory, tmp_path: Path) -> AsyncIterator[Factory]:
    """A factory whose gateway has the board's line, the board provisioned for it; afterwards it is the hall's again."""
    if Capability.WIRE not in node.capabilities:
        pytest.skip(f"the rung {node.name} has no end of the data line on this machine (docs/boards.md)")
    plan = FactoryPlan(nodes=0, serial_ports=(node.wire,))
    async with Factory(plan, find_checkout(), tmp_path) as factory:
        await factory.api.register_machine(MACHINE)
        # What belongs to another link is no part of a wired node's configuration.
        link = {"kind": "serial", "uart": node.uart}
        await provision(node, factory, tmp_path, link=link, lan=None, wifi=None)
        yield factory
    await provision(node, hall, tmp_path)


async def test_readings_cycles_and_commands_go_over_the_wire(node: Bench, wired: Factory) -> None:
    await readings_more(wired, 2)
    for state in (True, False):
        issued = await wired.api.switch_relay(NODE, 0, state=state, lease_s=60, expires_s=60)
        assert (await final(wired, issued)).status == "confirmed"
        await output_is(node, on=state)
    before = await cycles(wired)
    await node.press(2)
    await wired.kill_gateway()
    await node.press(3)
    await wired.restart_gateway()

    async def all_there() -> bool:
        return await cycles(wired) == before + 5

    await until(all_there, 120, f"not {before + 5} cycles")
