"""From a blank board to readings in the store, with the commands an integrator uses and nothing else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S

from andon_workbench.checkout import find_checkout
from andon_workbench.node.emulate import BenchBoard
from andon_workbench.plan import GATEWAY, FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs_capability("fleet")]

ANDON = Path(sys.executable).with_name("andon")
MACHINE = {
    "id": "press-77",
    "name": "Press 77",
    "kind": "press",
    "site": "demo",
    "area": "hall-1",
    "line": "line-1",
    "ideal_cycle_s": 4.0,
}
TEMPLATE = {
    "board": "esp32-devkit",
    "wifi": {"ssid": "andon-demo", "password": ""},
    "coap_port": 0,
    "temperature": [{"channel": 0, "pin": "W1"}],
    "cycles": [{"channel": 0, "pin": "IN1", "mode": "contact", "debounce_ms": 20}],
    "relays": [{"channel": 0, "pin": "RELAY1", "safe": False, "contact_pin": "IN2"}],
}


async def node(*words: str) -> str:
    """Run `andon node ...` beside this loop, which keeps the board's serial line and its world going."""
    process = await asyncio.create_subprocess_exec(
        ANDON, "node", *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_blank_board_becomes_a_measuring_node(build: Callable[[FactoryPlan], Factory], tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    async with (
        build(FactoryPlan(nodes=1, seed=31)) as factory,
        BenchBoard(tmp_path / "bench", find_checkout(), kind="press") as bench,
    ):
        await factory.api.register_machine(MACHINE)
        host, port = factory.gateway.address("coap")
        line = ("--port", bench.port)
        await node("flash", *line, "--emulated", str(bench.flash))
        await node("deploy", *line)
        said = await node(
            *("provision", *line, "--node", "press-77", "--gateway-id", GATEWAY, "--gateway", f"{host}:{port}"),
            *("--cloud", factory.cloud.url, "--template", str(template), "--label", str(tmp_path / "label.svg")),
        )
        assert "keys.json: on the board" in said
        end = time.monotonic() + START_LIMIT_S
        while (stored := len((await factory.api.stored(["press-77"])).temperatures)) == 0:
            assert time.monotonic() < end, bench.board.files.console.read_text()[-2000:]
            await asyncio.sleep(0.2)
        assert stored == 1
        doctor = json.loads((await node("doctor", *line, "--json")).splitlines()[-1])
        verdicts = {finding["check"]: finding["verdict"] for finding in doctor["findings"]}
        assert verdicts["gateway"] == verdicts["node"] == verdicts["keys"] == verdicts["firmware"] == "good"
        keys = bench.flash.read_bytes()
        assert b'"secret"' in keys
        assert b'"secret"' not in bench.board.files.console.read_bytes()
