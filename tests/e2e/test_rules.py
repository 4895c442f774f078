"""A rule on a simulated machine: put at the cloud, obeyed by the gateway alone, told to the cloud when it is back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from e2e.limits import DRAIN_LIMIT_S, START_LIMIT_S

from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs_capability("fleet")]

LIMIT_S = 120.0
SETPOINT = 75.0  # no press reaches it by its own work
HOT = {
    "id": "press-hot",
    "type": "high",
    "nodes": ["press-*"],
    "channel": "temperature/0",
    "setpoint": SETPOINT,
    "deadband": 2,
    "priority": "high",
    "action": {"relay": 0, "state": False, "lease_s": 600},
}


async def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"waited {LIMIT_S} s for: {what}"
        await asyncio.sleep(0.1)


async def ask(factory: Factory, path: str, **params: Any) -> Any:
    async with httpx.AsyncClient(base_url=factory.cloud.url, timeout=10) as http:
        answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def alarms(factory: Factory) -> dict[str, list[tuple[int, Any]]]:
    """Samples of each field of the only series of alarms."""
    answer = await ask(factory, "/api/v1/telemetry/range", measurement="alarm", start="-1h", stop="now")
    return {series["field"]: [tuple(item) for item in series["samples"]] for series in answer["series"]}


def in_force(factory: Factory, version: int) -> bool:
    host, port = factory.gateway.address("http")
    text = httpx.get(f"http://{host}:{port}/metrics", timeout=10).text
    return f"andon_gateway_rules_version {float(version)}\n" in text


async def test_a_hot_machine_is_stopped_while_the_cloud_is_dead(build: Callable[[FactoryPlan], Factory]) -> None:
    async with build(FactoryPlan(nodes=1, seed=41, sensor_faults=None)) as factory:
        assert await factory.first_readings(START_LIMIT_S) == []
        (node,) = factory.boards
        async with httpx.AsyncClient(base_url=factory.cloud.url, timeout=10) as http:
            answer = await http.put("/api/v1/rules", json={"version": 0, "rules": [HOT]})
            assert answer.status_code == 200, answer.text
        await until(lambda: in_force(factory, 1), "the rule at the gateway")
        await factory.kill_cloud()
        contacts = factory.ledger.node(node).contacts
        assert contacts == []
        machine = factory.world.stations[node].machine
        machine._temperature_c = SETPOINT + 20  # a cooling pipe bursts
        await until(lambda: contacts, "the relay to open")
        assert [(change.relay, change.closed) for change in contacts] == [(0, False)]
        machine._temperature_c = SETPOINT - 20  # mended
        # The gateway, too, may fall before the cloud is back: what it has decided is on its disk.
        await factory.kill_gateway()
        await factory.restart_gateway()
        await factory.restart_cloud()
        found: dict[str, list[tuple[int, Any]]] = {}
        end = time.monotonic() + LIMIT_S
        while [active for _, active in found.get("active", [])] != [True, False]:
            assert time.monotonic() < end, f"the store has {found}"
            await asyncio.sleep(0.2)
            found = await alarms(factory)
        readings = dict(await factory.api.history("temperature", "celsius", node))
        (raised_ms, _), (cleared_ms, _) = found["active"]
        values = dict(found["value"])
        assert values[raised_ms] == readings[raised_ms] > SETPOINT, "the event is a reading's, time and value"
        assert values[cleared_ms] == readings[cleared_ms] <= SETPOINT - 2
        assert raised_ms == min(time_ms for time_ms, celsius in readings.items() if celsius > SETPOINT)
        end = time.monotonic() + LIMIT_S
        commands: list[dict[str, Any]] = []
        # On a busy machine one may have expired before another one went through.
        while not any(command["status"] == "confirmed" for command in commands):
            assert time.monotonic() < end, f"the audit log has {commands}"
            await asyncio.sleep(0.2)
            commands = await ask(factory, f"/api/v1/machines/{node}/commands")
        assert {(command["actor"], command["state"]) for command in commands} == {("rule:press-hot", False)}
        assert (await factory.drain(DRAIN_LIMIT_S)).differences == ()
