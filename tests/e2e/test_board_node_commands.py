"""Relay commands from the API to the output of the rung's board: once, confirmed, no longer than their lease."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from e2e.board_node import NODE, final, output_is, readings_more, switched_off, watched
from e2e.board_tools import until

from andon_workbench.faults.udp_proxy import Impairment

if TYPE_CHECKING:
    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console", "node", "network", "outputs"),
]

_LEASE_S = 5


async def test_lease_ends_also_without_anybody_who_could_end_it(node: Bench, hall: Factory) -> None:
    assert not await node.relay()
    since = time.monotonic()
    issued = await hall.api.switch_relay(NODE, 0, state=True, lease_s=_LEASE_S, expires_s=60)
    await output_is(node, on=True)
    assert (await final(hall, issued)).status == "confirmed"
    # The node acts alone.
    await hall.kill_gateway()
    await output_is(node, on=False)
    # Not before its time: the lease began after the command was given.
    assert time.monotonic() - since >= _LEASE_S
    await hall.restart_gateway()
    await readings_more(hall, 1)


async def _newest(states: list[bool], wanted: bool) -> bool:  # noqa: FBT001  a state, not a mode
    return states[-1] is wanted


async def test_command_runs_once_through_a_lossy_network(node: Bench, hall: Factory) -> None:
    assert hall.proxy is not None
    doubled = hall.proxy.counts.doubled["down"]
    wanted = [False]
    hall.impair(Impairment(loss=0.3, duplicate=0.3, reorder=0.3))
    try:
        async with watched(node) as states:
            # Go on until a datagram of a command was doubled, so that the repetition does not pass untried.
            while len(wanted) < 5 or hall.proxy.counts.doubled["down"] == doubled:
                wanted.append(not wanted[-1])
                issued = await hall.api.switch_relay(NODE, 0, state=wanted[-1], lease_s=300, expires_s=120)
                assert (await final(hall, issued, 130)).status == "confirmed"
                # Seen by the watch itself, so that a busy machine cannot make it miss a state.
                await until(partial(_newest, states, wanted[-1]), 60, f"the output does not become {wanted[-1]}")
        # A repetition that was executed again would have switched back what a later command had switched.
        assert states == wanted
    finally:
        hall.impair(Impairment())
    await switched_off(node, hall)


async def test_command_expires_while_the_gateway_is_away(node: Bench, hall: Factory) -> None:
    async with watched(node) as states:
        await hall.kill_gateway()
        issued = await hall.api.switch_relay(NODE, 0, state=True, lease_s=60, expires_s=2)
        assert (await final(hall, issued)).status == "expired"
        await hall.restart_gateway()
        await switched_off(node, hall)
    assert states == [False]


@pytest.mark.needs_capability("power_cut")
async def test_command_accepted_before_a_gateway_kill_runs_once(node: Bench, hall: Factory) -> None:
    await node.power_cut()
    issued = await hall.api.switch_relay(NODE, 0, state=True, lease_s=60, expires_s=120)

    async def accepted() -> bool:
        nonlocal issued
        issued = await hall.api.command(issued.id)
        return issued.status != "queued"

    await until(accepted, 90, "the gateway does not take the command")
    await hall.kill_gateway()
    await hall.restart_gateway()
    async with watched(node) as states:
        await node.power_on()
        assert (await final(hall, issued, 130)).status == "confirmed"
        await output_is(node, on=True)
        await readings_more(hall, 2)
    # A cut leaves an output as it falls; what counts is that it goes on once.
    assert states == [False, True]
    await switched_off(node, hall)
