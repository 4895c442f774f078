"""The whole firmware on the board of the rung, put there with the commands an integrator uses: the same assertions on every rung."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e.board_node import (
    NODE,
    boots,
    cycles,
    metric,
    output_is,
    provision,
    readings_more,
    temperatures,
)
from e2e.board_tools import andon, until

from andon_workbench.node.link import BoardLink
from andon_workbench.node.provision import BOOT_FILE

if TYPE_CHECKING:
    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console", "node", "network"),
]
# The gateway's clock against this machine's, and an emulated chip that is a little behind.
CLOCK_LIMIT_MS = 2000
# All that a board knows beyond its firmware.
FORGET = """
import os
for name in os.listdir():
    if name.endswith(('.txt', '.json', '.hex')):
        os.remove(name)
for name in os.listdir('journal'):
    os.remove('journal/' + name)
"""


def outcomes_in(record: Path) -> dict[str, str]:
    """What an acceptance record says of each step."""
    return {step["name"]: step["outcome"] for step in json.loads(record.read_text())["record"]["steps"]}


@pytest.mark.needs_capability("sensor")
async def test_temperature_is_in_the_store(node: Bench, hall: Factory) -> None:
    for celsius in (60.0, 21.5):
        await node.set_temperature(celsius)

        async def measured(wanted: float = celsius) -> bool:
            return abs((await temperatures(hall))[-1][1] - wanted) <= 0.07

        await until(measured, 60, f"{celsius} degC did not arrive")


@pytest.mark.needs_capability("cycles")
async def test_every_press_is_a_cycle_also_while_gateway_and_cloud_are_dead(node: Bench, hall: Factory) -> None:
    before, known = await cycles(hall), await temperatures(hall)
    await node.press(5)
    await hall.kill_cloud()
    await node.press(3)
    await hall.kill_gateway()
    await node.press(4)
    await hall.restart_gateway()
    await node.press(2)
    # The gateway has taken something since its start: what it keeps for the cloud must outlive a second death.
    await packs_taken(hall)
    await hall.kill_gateway()
    await hall.restart_gateway()
    await hall.restart_cloud()

    async def all_there() -> bool:
        return await cycles(hall) == before + 14

    await until(all_there, 90, f"not {before + 14} cycles")
    # What was taken meanwhile is there, too: the node samples every second.
    await readings_more(hall, 2)
    times = [time_ms for time_ms, _ in (await temperatures(hall))[len(known) - 1 :]]
    assert all(0 < later - earlier < 5000 for earlier, later in pairwise(times)), times
    assert await cycles(hall) == before + 14


async def packs_taken(hall: Factory) -> None:
    """Wait until the gateway has taken a pack since its start."""

    async def some() -> bool:
        return metric(hall, "packs_total") > 0

    await until(some, 60, "the gateway takes nothing")


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
    await output_is(node, on=False)
    await readings_more(hall, 2)
    assert (await temperatures(hall))[: len(kept)] == kept
    await node.press(2)

    async def counted_on() -> bool:
        return await cycles(hall) == before + 5

    await until(counted_on, 60, f"not {before + 5} cycles")


@pytest.mark.needs_capability("power_cut", "cycles")
async def test_times_are_repaired_when_power_comes_back_before_the_gateway(node: Bench, hall: Factory) -> None:
    """Without a gateway a board that has just started knows no time; what it measures gets its true one later."""
    before = await cycles(hall)
    await hall.kill_gateway()
    await node.power_cut()
    assert hall.proxy is not None
    datagrams = hall.proxy.counts.received["up"]
    await node.power_on()
    proxy = hall.proxy

    async def asks() -> bool:
        return proxy.counts.received["up"] >= datagrams + 2

    await until(asks, 90, "the node does not look for its gateway")
    running_ms = time.time() * 1000
    # Three seconds of the board's own time, in which it samples.
    await node.press(30)
    back_ms = time.time() * 1000
    await hall.restart_gateway()

    async def counted() -> bool:
        return await cycles(hall) == before + 30

    await until(counted, 120, f"not {before + 30} cycles")
    await readings_more(hall, 2)
    times = [time_ms for time_ms, _ in await temperatures(hall)]
    assert times[-1] <= time.time() * 1000 + CLOCK_LIMIT_MS
    meanwhile = [time_ms for time_ms in times if running_ms <= time_ms <= back_ms]
    # An emulated chip on a busy machine may fall behind and miss some; they are a second apart.
    assert meanwhile
    assert all(0 < later - earlier < 5000 for earlier, later in pairwise(meanwhile)), meanwhile


@pytest.mark.needs_capability("power_cut")
async def test_a_new_board_under_the_old_name_loses_nothing(node: Bench, hall: Factory, tmp_path: Path) -> None:
    """It starts with no memory of the old one's numbers; nothing of it is taken for what the old one has sent."""

    def forget_everything() -> None:
        with BoardLink(node.port, attempts=30) as board:
            board.run(FORGET)

    def seed() -> int:
        with BoardLink(node.port, attempts=30) as board:
            return int(board.read(BOOT_FILE))

    await readings_more(hall, 2)
    old = await boots(hall)
    await asyncio.to_thread(forget_everything)
    kept = await temperatures(hall)
    refused = metric(hall, "refused_packs_total")
    await provision(node, hall, tmp_path)
    await readings_more(hall, 3)
    # Its next start counts on from there.
    await node.power_cut()
    await node.power_on()

    async def two_starts() -> bool:
        return len({boot for boot in await boots(hall) if boot > max(old)}) >= 2

    await until(two_starts, 90, "its next start is not in the store")
    await readings_more(hall, 2)
    found = await temperatures(hall)
    assert found[: len(kept)] == kept
    times = [time_ms for time_ms, _ in found[len(kept) :]]
    # The power cut lies between two of them.
    assert sum(later - earlier >= 5000 for earlier, later in pairwise(times)) <= 1, times
    assert metric(hall, "refused_packs_total") == refused
    assert await asyncio.to_thread(seed) > max(old)


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
    assert verdicts["firmware"] == verdicts["configuration"] == verdicts["keys"] == "good"
    assert verdicts["gateway"] == verdicts["node"] == "good"
    assert "bad" not in verdicts.values()
