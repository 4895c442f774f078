"""The board of a rung as a node: put there with the commands an integrator uses, and what the store has of it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from e2e.board_tools import andon, until
from firmware.update.vm import SITE_KEY_HEX

from andon_workbench.plan import GATEWAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from andon_workbench.cloud_api import IssuedCommand
    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

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
# An output is looked at so often; on an emulated chip each look is a call to another process.
_LOOK_S = 0.05


async def provision(bench: Bench, hall: Factory, folder: Path, **changes: Any) -> str:
    """Give the board its identity, keys, the site's public key and configuration (the rung's with `changes`, without what is None there); what the command said."""
    template, site_key = folder / "template.json", folder / "site.hex"
    wanted = {key: value for key, value in {**bench.template, **changes}.items() if value is not None}
    template.write_text(json.dumps(wanted))
    site_key.write_text(SITE_KEY_HEX)
    host, port = hall.gateway_address
    return await andon(
        *("node", "provision", "--port", bench.port, "--node", NODE, "--gateway-id", GATEWAY),
        *("--gateway", f"{host}:{port}", "--cloud", hall.cloud.url, "--template", str(template)),
        *("--site-key", str(site_key), "--label", str(folder / "label.svg")),
    )


def document(bench: Bench, hall: Factory) -> dict[str, Any]:
    """A configuration for the board beside the one that it was provisioned with."""
    host, port = hall.gateway_address
    return {"version": 1, **bench.template, "node": NODE, "gateway": {"host": host, "port": port}}


async def temperatures(hall: Factory) -> list[tuple[int, float]]:
    """(time in ms, degC) of everything that the store has of the board, oldest first."""
    points = (await hall.api.stored([NODE])).temperatures.get(CHANNEL, [])
    return sorted((point.time_ms, point.raw / 16) for point in points)


async def cycles(hall: Factory) -> int:
    """The board's newest cycle total in the store."""
    return (await hall.api.stored([NODE])).cycle_totals.get(CHANNEL, 0)


async def boots(hall: Factory) -> list[int]:
    """The numbers of the board's starts that the store has, each once, in their order of time."""
    return list(dict.fromkeys(int(value) for _, value in await hall.api.history("node", "boots", NODE)))


async def readings_more(hall: Factory, count: int, limit_s: float = 90.0) -> None:
    """Wait for `count` more readings in the store."""
    known = len(await temperatures(hall))

    async def enough() -> bool:
        return len(await temperatures(hall)) >= known + count

    await until(enough, limit_s, f"no {count} more readings")


async def final(hall: Factory, issued: IssuedCommand, limit_s: float = 90.0) -> IssuedCommand:
    """Wait for a command's end."""

    async def over() -> bool:
        nonlocal issued
        issued = await hall.api.command(issued.id)
        return issued.final

    await until(over, limit_s, f"the command has no end: {issued}")
    return issued


async def output_is(bench: Bench, *, on: bool, limit_s: float = 60.0) -> None:
    """Wait until the output has a state."""

    async def has() -> bool:
        return await bench.relay() is on

    await until(has, limit_s, f"the output does not become {'on' if on else 'off'}")


async def switched_off(bench: Bench, hall: Factory) -> None:
    """Leave the output safe for the next test."""
    issued = await hall.api.switch_relay(NODE, 0, state=False, lease_s=60, expires_s=60)
    assert (await final(hall, issued)).status == "confirmed"
    await output_is(bench, on=False)


@asynccontextmanager
async def watched(bench: Bench) -> AsyncIterator[list[bool]]:
    """Every state that the output takes meanwhile, the present one first."""
    states = [await bench.relay()]

    async def watch() -> None:
        while True:
            state = await bench.relay()
            if state is not states[-1]:
                states.append(state)
            await asyncio.sleep(_LOOK_S)

    watching = asyncio.create_task(watch())
    try:
        yield states
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def metric(factory: Factory, name: str) -> float:
    """The sum of a metric of the gateway over its labels."""
    host, port = factory.gateway.address("http")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    wanted = f"andon_gateway_{name}"
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == wanted)
