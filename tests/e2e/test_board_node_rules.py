"""A rule on the rung's board: put at the cloud, obeyed by the gateway alone, told to the cloud when it is back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from e2e.board_node import NODE, metric, output_is, readings_more, switched_off
from e2e.board_tools import until

if TYPE_CHECKING:
    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console", "node", "network", "sensor", "outputs"),
]

LIMIT_S = 120.0
SETPOINT = 75.0  # no other test warms the board so far
HOT = {
    "id": "board-hot",
    "type": "high",
    "nodes": ["board-*"],
    "channel": "temperature/0",
    "setpoint": SETPOINT,
    "deadband": 2,
    "priority": "high",
    "action": {"relay": 0, "state": True, "lease_s": 600},
}


async def ask(hall: Factory, path: str, **params: Any) -> Any:
    async with httpx.AsyncClient(base_url=hall.cloud.url, timeout=10) as http:
        answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def put_rules(hall: Factory, version: int, rules: list[dict[str, Any]]) -> None:
    """Put a new version of the rules at the cloud and wait until the gateway goes by it."""
    async with httpx.AsyncClient(base_url=hall.cloud.url, timeout=10) as http:
        answer = await http.put("/api/v1/rules", json={"version": version, "rules": rules})
        assert answer.status_code == 200, answer.text

    async def in_force() -> bool:
        return metric(hall, "rules_version") == version + 1

    await until(in_force, LIMIT_S, f"rules {version + 1} are not at the gateway")


async def alarms(hall: Factory) -> dict[str, list[tuple[int, Any]]]:
    """Samples of each field of the only series of alarms."""
    answer = await ask(hall, "/api/v1/telemetry/range", measurement="alarm", start="-1h", stop="now")
    return {series["field"]: [tuple(item) for item in series["samples"]] for series in answer["series"]}


async def test_a_hot_machine_is_acted_on_while_the_cloud_is_dead(node: Bench, hall: Factory) -> None:
    await node.set_temperature(SETPOINT - 20)
    await readings_more(hall, 2)
    assert not await node.relay()
    await put_rules(hall, 0, [HOT])
    await hall.kill_cloud()
    await node.set_temperature(SETPOINT + 5)  # a cooling pipe bursts
    await output_is(node, on=True, limit_s=LIMIT_S)
    await node.set_temperature(SETPOINT - 20)  # mended
    # The gateway, too, may fall before the cloud is back: what it has decided is on its disk.
    await hall.kill_gateway()
    await hall.restart_gateway()
    await hall.restart_cloud()
    found: dict[str, list[tuple[int, Any]]] = {}

    async def told() -> bool:
        nonlocal found
        found = await alarms(hall)
        return [active for _, active in found.get("active", [])] == [True, False]

    await until(told, LIMIT_S, "not one alarm that came and went")
    readings = dict(await hall.api.history("temperature", "celsius", NODE))
    (raised_ms, _), (cleared_ms, _) = found["active"]
    values = dict(found["value"])
    assert values[raised_ms] == readings[raised_ms] > SETPOINT, "the event is a reading's, time and value"
    assert values[cleared_ms] == readings[cleared_ms] <= SETPOINT - 2
    assert raised_ms == min(time_ms for time_ms, celsius in readings.items() if celsius > SETPOINT)
    commands: list[dict[str, Any]] = []

    async def confirmed() -> bool:
        nonlocal commands
        commands = [
            command
            for command in await ask(hall, f"/api/v1/machines/{NODE}/commands")
            if command["actor"].startswith("rule:")
        ]
        # On a busy machine one may have expired before another one went through.
        return any(command["status"] == "confirmed" for command in commands)

    await until(confirmed, LIMIT_S, "the audit log has no confirmed command of the rule")
    assert {(command["actor"], command["state"]) for command in commands} == {("rule:board-hot", True)}
    await put_rules(hall, 1, [])
    await switched_off(node, hall)
