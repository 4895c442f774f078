"""The whole firmware on the board of the rung, put there with the commands an integrator uses: the same assertions on every rung."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from e2e.board_tools import andon, until

from andon_workbench.plan import GATEWAY
from andon_workbench.rungs.capability import Capability

if TYPE_CHECKING:
    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console", "node", "network"),
]

NODE = "board-1"
CHANNEL = (NODE, 0)
MACHINE = {
    "id": NODE,
    "name": "Board under test",
    "kind": "press",
    "site": "demo",
    "area": "hall-1",
    "line": "line-1",
    "ideal_cycle_s": 4.0,
}


async def temperatures(hall: Factory) -> list[tuple[int, float]]:
    """(time in ms, degC) of everything that the store has of the board, oldest first."""
    points = (await hall.api.stored([NODE])).temperatures.get(CHANNEL, [])
    return sorted((point.time_ms, point.raw / 16) for point in points)


async def cycles(hall: Factory) -> int:
    return (await hall.api.stored([NODE])).cycle_totals.get(CHANNEL, 0)


def outcomes_in(record: Path) -> dict[str, str]:
    """What an acceptance record says of each step."""
    return {step["name"]: step["outcome"] for step in json.loads(record.read_text())["record"]["steps"]}


async def readings_more(hall: Factory, count: int) -> None:
    known = len(await temperatures(hall))

    async def enough() -> bool:
        return len(await temperatures(hall)) >= known + count

    await until(enough, 90, f"no {count} more readings")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def node(bench: Bench, hall: Factory, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The board as a measuring node: deployed, provisioned, its first readings in the store."""
    if Capability.NODE not in bench.capabilities:
        pytest.skip(f"the image on the rung {bench.name} leaves no room for the whole firmware (docs/boards.md)")
    template = tmp_path_factory.mktemp("node") / "template.json"
    template.write_text(json.dumps(bench.template))
    await hall.api.register_machine(MACHINE)
    host, port = hall.gateway.address("coap")
    await andon("node", "deploy", "--port", bench.port)
    said = await andon(
        *("node", "provision", "--port", bench.port, "--node", NODE, "--gateway-id", GATEWAY),
        *("--gateway", f"{host}:{port}", "--cloud", hall.cloud.url, "--template", str(template)),
    )
    assert "keys.json: on the board" in said
    await readings_more(hall, 2)
    return bench


@pytest.mark.needs_capability("sensor")
async def test_temperature_is_in_the_store(node: Bench, hall: Factory) -> None:
    for celsius in (60.0, 21.5):
        await node.set_temperature(celsius)

        async def measured(wanted: float = celsius) -> bool:
            return abs((await temperatures(hall))[-1][1] - wanted) <= 0.07

        await until(measured, 60, f"{celsius} degC did not arrive")


@pytest.mark.needs_capability("cycles")
async def test_every_press_is_a_cycle_also_while_the_gateway_is_dead(node: Bench, hall: Factory) -> None:
    before = await cycles(hall)
    await node.press(5)
    await hall.kill_gateway()
    await node.press(4)
    await hall.restart_gateway()

    async def all_there() -> bool:
        return await cycles(hall) == before + 9

    await until(all_there, 90, f"not {before + 9} cycles")
    # What was taken meanwhile is there, too: the node samples every second.
    await readings_more(hall, 2)
    times = [time_ms for time_ms, _ in await temperatures(hall)][-8:]
    assert all(0 < later - earlier < 5000 for earlier, later in pairwise(times)), times
    assert await cycles(hall) == before + 9


@pytest.mark.needs_capability("outputs")
async def test_command_reaches_the_output_and_its_lease_ends(node: Bench, hall: Factory) -> None:
    assert not await node.relay()
    issued = await hall.api.switch_relay(NODE, 0, state=True, lease_s=5, expires_s=60)

    async def final() -> bool:
        nonlocal issued
        issued = await hall.api.command(issued.id)
        return issued.final

    async def on() -> bool:
        return await node.relay()

    async def off() -> bool:
        return not await node.relay()

    await until(on, 60, "the output did not follow the command")
    await until(final, 60, "the command has no end")
    assert issued.status == "confirmed"
    await until(off, 60, "the lease does not end")


@pytest.mark.needs_capability("power_cut", "cycles", "outputs")
async def test_power_cut_costs_nothing_that_was_kept_and_makes_safe(node: Bench, hall: Factory) -> None:
    await hall.api.switch_relay(NODE, 0, state=True, lease_s=600, expires_s=60)
    before = await cycles(hall)
    await node.press(3)

    async def on_and_counted() -> bool:
        return await cycles(hall) == before + 3 and await node.relay()

    await until(on_and_counted, 60, "not counted, or not on")
    kept = await temperatures(hall)
    await node.power_cut()
    await node.power_on()

    async def off() -> bool:
        return not await node.relay()

    await until(off, 60, "the output is not safe after the power came back")
    await readings_more(hall, 2)
    assert (await temperatures(hall))[: len(kept)] == kept
    await node.press(2)

    async def counted_on() -> bool:
        return await cycles(hall) == before + 5

    await until(counted_on, 60, f"not {before + 5} cycles")


@pytest.mark.needs_capability("sensor", "cycles", "outputs")
async def test_inspector_accepts_the_node(node: Bench, tmp_path: Path) -> None:
    """`andon node accept` down to the pins, the bench doing what it asks for; what it measured before is not its subject."""
    key, answers = tmp_path / "inspector.key", tmp_path / "answers.json"
    (tmp_path / "inspector.hex").write_text(await andon("firmware", "keygen", str(key)))
    # A thermometer that is a driver of its own is looked at; one on a 1-wire bus is warmed.
    answers.write_text(
        json.dumps(
            {
                "isolated": True,
                "outputs": {"relay/0": True},
                "pulses": {"cycles/0": 5},
                "readings": {"temperature/0": True},
                "wait_s": 60,
            }
        )
    )
    seen: list[bool] = []

    async def watch() -> None:
        while True:
            seen.append(await node.relay())
            await asyncio.sleep(0.05)

    async def act(line: str) -> None:
        if line.startswith("do: cycles/0"):
            await node.press(5)
        elif line.startswith("do: temperature/0"):
            await node.set_temperature(31.5)

    watching = asyncio.create_task(watch())
    try:
        said = await andon(
            *("node", "accept", "--port", node.port, "--inspector", "Ada", "--key", str(key)),
            *("--answers", str(answers), "--out", str(tmp_path), "--json"),
            act=act,
        )
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    done = json.loads(said.splitlines()[-1])
    outcomes = outcomes_in(Path(done["record"]))
    assert outcomes["relay/0"] == outcomes["cycles/0"] == outcomes["temperature/0"] == "passed"
    assert done["accepted"], outcomes
    # It was driven (shown three times for half a second, looked at every 50 ms), and is safe before and after.
    assert True in seen
    assert not seen[0]
    assert not await node.relay()
    assert "intact" in await andon(
        "node", "accept", "--verify", done["record"], "--public-key", str(tmp_path / "inspector.hex")
    )


async def test_doctor_finds_nothing_bad(node: Bench) -> None:
    found = json.loads((await andon("node", "doctor", "--port", node.port, "--json")).splitlines()[-1])
    verdicts = {finding["check"]: finding["verdict"] for finding in found["findings"]}
    assert verdicts["configuration"] == verdicts["keys"] == verdicts["gateway"] == verdicts["node"] == "good"
    assert "bad" not in verdicts.values()
