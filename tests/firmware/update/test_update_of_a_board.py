"""Updates of the whole node on the emulated board, through CoAP, with the real application compiled."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # no stubs
import pytest
from firmware.update.emulated import EmulatedBoard, app, compiled, sources, until
from firmware.update.gateway import Gateway
from firmware.update.vm import micropython
from parts import require_part

from andon_workbench.ports import lasting_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Alone, a test here takes up to half a minute; a limit is for a machine that is busy with something else.
LIMIT_S = 120
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_part("micropython", found=micropython() is not None, how="make dev")
    folder = tmp_path_factory.mktemp("firmware")
    return compiled(sources(folder / "sources", {}), folder / "compiled")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as started:
        yield started


@pytest.fixture
async def board(blank: Path, gateway: Gateway, tmp_path: Path) -> AsyncIterator[EmulatedBoard]:
    async with EmulatedBoard(tmp_path, blank, gateway.port, lasting_port()) as started:
        yield started


async def status(gateway: Gateway, board: EmulatedBoard) -> dict[str, Any]:
    code, body = await gateway.ask(board.port, aiocoap.GET, "update")
    return body if code == aiocoap.CONTENT else {}


def more_blocks(gateway: Gateway, seen: int) -> bool:
    return gateway.firmware.blocks > seen + 12


async def order(gateway: Gateway, board: EmulatedBoard, version: str, bundle: bytes) -> None:
    name = f"andon-{version}.fw"
    gateway.firmware.files[name] = bundle
    await until(lambda: gateway.telemetry.packs, LIMIT_S, board)

    async def taken() -> bool:
        code, _ = await gateway.ask(board.port, aiocoap.PUT, "update", {"name": name, "version": version})
        return bool(code == aiocoap.CHANGED)

    await until(taken, LIMIT_S, board)


async def runs(gateway: Gateway, board: EmulatedBoard, version: str, state: str = "idle") -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        found = await status(gateway, board)
        return found if found.get("version") == version and found.get("state") == state else None

    found: dict[str, Any] = await until(reached, LIMIT_S, board)
    return found


async def test_update_is_fetched_tried_and_confirmed(gateway: Gateway, board: EmulatedBoard, tmp_path: Path) -> None:
    await order(gateway, board, "1.1.0", app(tmp_path, "1.1.0", whole=True))
    found = await runs(gateway, board, "1.1.0", "trial")
    assert found["running"] == "app_a"
    code, text = await gateway.ask(board.port, aiocoap.PUT, "update", {"name": "x.fw", "version": "1.2.0"})
    assert (str(code), "on trial" in text) == ("4.09 Conflict", True)
    found = await runs(gateway, board, "1.1.0")
    assert found["last"] == "confirmed"
    _, health = await gateway.ask(board.port, aiocoap.GET, "health")
    assert (health["reset_cause"], health["reset_detail"]) == ("reset", "update to 1.1.0")
    await board.power_cut()
    await board.power_on()
    assert (await runs(gateway, board, "1.1.0"))["running"] == "app_a"
    assert board.relay_level() == 0


async def test_power_cuts_while_it_is_fetched_and_tried(gateway: Gateway, board: EmulatedBoard, tmp_path: Path) -> None:
    gateway.firmware.seconds_per_block = 0.02
    await order(gateway, board, "1.1.0", app(tmp_path, "1.1.0"))
    for number in range(4):
        seen = gateway.firmware.blocks
        await until(partial(more_blocks, gateway, seen), LIMIT_S, board)
        await board.power_cut()
        assert board.resets == 0, f"there already, before cut {number}"
        await board.power_on()
    await runs(gateway, board, "1.1.0", "trial")
    await board.power_cut()
    await board.power_on()
    await runs(gateway, board, "1.1.0")
    assert board.relay_level() == 0


BROKEN = {
    "does not import": ({"andon_node/node.py": [(r"import gc", "import gc, no_such_module")]}, "crash"),
    "raises in its set-up": ({"andon_node/node.py": [(r"self\._clock = Clock\(\)", "raise ValueError")]}, "crash"),
    "hangs at import": ({"andon_node/node.py": [(r"import gc", "import gc\nwhile True: pass")]}, "watchdog"),
    "hangs in a task": (
        {"andon_node/sampler.py": [(r"self\.samples \+= 1", "self.samples += 1\n        while self.samples > 2: pass")]},
        "watchdog",
    ),
    "does not sample": (
        {"andon_node/sampler.py": [(r"async def run\(self\):", "async def run(self):\n        await asyncio.sleep(999)")]},
        "watchdog",
    ),
    "a task crashes again and again": (
        {"andon_node/gateway.py": [(r"async def keep_clock\(self\):", "async def keep_clock(self):\n        raise ValueError")]},
        "not confirmed",
    ),
    "never reaches the gateway": (
        {"andon_node/gateway.py": [(r"async def send\(self, outbox, dating\):", "async def send(self, outbox, dating):\n        await asyncio.sleep(999)")]},
        "not confirmed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
async def test_broken_version_is_given_up(gateway: Gateway, board: EmulatedBoard, tmp_path: Path, fault: str) -> None:
    changes, why = BROKEN[fault]
    await order(gateway, board, "1.1.0", app(tmp_path, "1.1.0", changes))
    await until(lambda: board.resets, LIMIT_S, board)

    async def back() -> dict[str, Any] | None:
        found = await status(gateway, board)
        return found if found.get("version") == "1.0.0" and "rolled back 1.1.0" in found.get("last", "") else None

    await until(back, LIMIT_S, board)
    _, health = await gateway.ask(board.port, aiocoap.GET, "health")
    assert why in health["reset_cause"] + " " + health["reset_detail"]
    assert board.relay_level() == 0
    packs = len(gateway.telemetry.packs)
    await until(lambda: len(gateway.telemetry.packs) > packs, LIMIT_S, board)


async def test_crash_loop_of_the_only_version_ends_in_recovery_which_takes_an_update(
    gateway: Gateway, tmp_path: Path
) -> None:
    broken = compiled(
        sources(tmp_path / "broken", {"andon_node/node.py": [(r"self\._clock = Clock\(\)", "raise ValueError")]}),
        tmp_path / "compiled",
    )
    async with EmulatedBoard(tmp_path, broken, gateway.port, lasting_port()) as board:

        async def recovery() -> bool:
            _, body = await gateway.ask(board.port, aiocoap.GET, "health")
            return isinstance(body, dict) and body.get("recovery") == "no application works here"

        await until(recovery, LIMIT_S, board)
        assert board.relay_level() == 0
        gateway.firmware.files["a.fw"] = app(tmp_path, "1.1.0")
        code, _ = await gateway.ask(board.port, aiocoap.PUT, "update", {"name": "a.fw", "version": "1.1.0"})
        assert code == aiocoap.CHANGED
        assert (await runs(gateway, board, "1.1.0"))["running"] == "app_a"


async def test_bad_configuration_leads_to_recovery_and_a_good_one_out(gateway: Gateway, board: EmulatedBoard) -> None:
    await until(lambda: gateway.telemetry.packs, LIMIT_S, board)
    good = (board.folder / "config.json").read_text()
    await board.power_cut()
    board.replace_config(good.replace('"sample_ms": 500', '"sample_ms": "often"'))
    await board.power_on()

    async def recovery() -> str:
        _, body = await gateway.ask(board.port, aiocoap.GET, "health")
        return body.get("recovery", "") if isinstance(body, dict) else ""

    assert "sample_ms: expected a whole number" in await until(recovery, LIMIT_S, board)
    packs = len(gateway.telemetry.packs)
    code, said = await gateway.ask(board.port, aiocoap.PUT, "config", {**json.loads(good), "revision": 1})
    assert (code, said) == (aiocoap.CHANGED, {"revision": 1, "trial": True})
    await until(lambda: len(gateway.telemetry.packs) > packs, LIMIT_S, board)
    await board.power_cut()
    packs = len(gateway.telemetry.packs)
    await board.power_on()
    await until(lambda: len(gateway.telemetry.packs) > packs, LIMIT_S, board)


async def test_recovery_takes_a_configuration(gateway: Gateway, board: EmulatedBoard) -> None:
    await until(lambda: gateway.telemetry.packs, LIMIT_S, board)
    good = (board.folder / "config.json").read_text()
    await board.power_cut()
    board.replace_config(good.replace('"sample_ms": 500', '"sample_ms": "often"'))
    packs = len(gateway.telemetry.packs)
    await board.power_on()

    async def taken() -> bool:
        code, _ = await gateway.ask(board.port, aiocoap.PUT, "config", {**json.loads(good), "revision": 1})
        return bool(code == aiocoap.CHANGED)

    await until(taken, LIMIT_S, board)
    await until(lambda: len(gateway.telemetry.packs) > packs, LIMIT_S, board)


async def test_silence_never_starves_the_watchdog(gateway: Gateway, board: EmulatedBoard) -> None:
    await until(lambda: gateway.telemetry.packs, LIMIT_S, board)
    gateway.telemetry.closed = True
    board.registers.set_wifi(reachable=False)
    starts = board.registers.starts
    # Twice the time in which a stuck task would have ended in a reset.
    await asyncio.sleep(2 * (3 + 3))
    board.registers.set_wifi(reachable=True)
    gateway.telemetry.closed = False
    packs = len(gateway.telemetry.packs)
    await until(lambda: len(gateway.telemetry.packs) > packs, LIMIT_S, board)
    assert (board.registers.starts, board.resets, board.bites) == (starts, 0, 0)
