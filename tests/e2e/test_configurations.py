"""Configurations over the network: a document through the real cloud and gateway onto an emulated board with keys."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from e2e.limits import START_LIMIT_S
from firmware.update.vm import SITE_KEY, SITE_KEY_HEX

from andon_workbench.checkout import find_checkout
from andon_workbench.errors import CloudApiError
from andon_workbench.factory import Factory
from andon_workbench.node.config import sign
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs_capability("fleet")]

ANDON = Path(sys.executable).with_name("andon")
LIMIT_S = 120.0
TRIAL_S = 5
FINAL = ("confirmed", "refused", "rolled-back", "failed")


async def until(what: str, condition: Callable[[], Awaitable[Any]], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition and return its value."""
    end = time.monotonic() + limit_s
    while not (value := await condition()):
        assert time.monotonic() < end, f"waited {limit_s} s for: {what}"
        await asyncio.sleep(0.1)
    return value


def running_document(factory: Factory, node: str) -> dict[str, Any]:
    """The configuration with which the board left the factory."""
    document: dict[str, Any] = json.loads((factory.folder / node / "config.json").read_text())
    return document


def text_of(document: dict[str, Any], revision: int, **changes: Any) -> bytes:
    """A document as an engineer writes it, long enough for several blocks."""
    return json.dumps({**document, **changes, "revision": revision}, indent=4).encode()


async def ordered(factory: Factory, node: str, document: bytes, signature: str | None = None) -> str:
    """Order through the API; the order's id."""
    answer = await factory.api.order_configuration(node, document, signature=signature, reason="test", expires_s=3600)
    return str(answer["id"])


async def ended(factory: Factory, order: str) -> dict[str, Any]:
    """The order at its end, with its log."""

    async def end() -> dict[str, Any] | None:
        found = await factory.api.configuration(order)
        return found if found["status"] in FINAL else None

    found: dict[str, Any] = await until("the end of the configuration", end)
    return found


async def runs(factory: Factory, node: str, revision: int) -> bool:
    """Whether the registry says that the node runs a revision."""
    return any(item["id"] == node and item["revision"] == revision for item in await factory.api.nodes())


async def boots(factory: Factory, node: str) -> float:
    """Number of the board's newest start that the store knows."""
    return max((value for _, value in await factory.api.history("node", "boots", node)), default=0)


def applied(order: dict[str, Any]) -> list[str]:
    """The statuses that moved the order."""
    return [entry["status"] for entry in order["audit"] if entry["applied"]]


async def pushed(node: str, file: Path, cloud: str, *options: str) -> tuple[int, str]:
    """Run `andon node config push` beside this loop; exit status and output."""
    words = ["node", "config", "push", node, str(file), "--cloud", cloud, "--reason", "test", *options]
    process = await asyncio.create_subprocess_exec(
        ANDON,
        *words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()


async def test_what_becomes_of_a_configuration(tmp_path: Path) -> None:
    plan = FactoryPlan(nodes=1, seed=61, site_key=SITE_KEY_HEX, node_settings={"trial_s": TRIAL_S})
    async with Factory(plan, find_checkout(), tmp_path) as factory:
        (node,) = factory.boards
        assert await factory.first_readings(START_LIMIT_S) == []
        await until("revision 0 in the registry", lambda: runs(factory, node, 0))
        document = running_document(factory, node)

        # A good one, by the command that CI would use.
        good = tmp_path / "good.json"
        good.write_bytes(text_of(document, 1, pack_ms=2000))
        status, said = await pushed(node, good, factory.cloud.url)
        assert (status, said.splitlines()[-1]) == (0, f"{node}: configuration 1 confirmed"), said
        await until("revision 1 in the registry", lambda: runs(factory, node, 1))
        (confirmed,) = await factory.api.configurations(node)
        confirmed = await factory.api.configuration(confirmed["id"])
        assert applied(confirmed) == ["requested", "sent", "trial", "confirmed"]

        # The power goes, and the board comes back with what was pushed: the node itself says which revision it runs.
        before = await boots(factory, node)
        await factory.power_cut(node)
        await factory.power_on(node)

        async def back() -> bool:
            return await boots(factory, node) > before

        await until("the board's next start", back)
        again = await ended(factory, await ordered(factory, node, text_of(document, 1, pack_ms=3000)))
        assert (again["status"], "revision: expected more than 1" in again["detail"]) == ("refused", True)

        # One that endangers outputs: refused by the node without the site's signature, and by the cloud with a wrong one.
        relays = [{**document["relays"][0], "min_on_s": 1}]
        touching = text_of(document, 2, relays=relays)
        refused = await ended(factory, await ordered(factory, node, touching))
        assert (refused["status"], applied(refused)) == ("refused", ["requested", "sent", "refused"])
        assert "4.03 relays: a change needs the site's signature" in refused["detail"]
        with pytest.raises(CloudApiError, match="not the site's signature"):
            await ordered(factory, node, touching, sign(touching + b" ", SITE_KEY))
        (tmp_path / "touching.json").write_bytes(touching)
        signature = f"sig={sign(touching, SITE_KEY)}"  # as andon node config sign prints it
        status, said = await pushed(node, tmp_path / "touching.json", factory.cloud.url, "--sig", signature)
        assert (status, said.splitlines()[-1]) == (0, f"{node}: configuration 2 confirmed"), said

        # One with which the node cannot reach its gateway: nobody answers at that port.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            away = text_of(document, 3, relays=relays, gateway={"host": "127.0.0.1", "port": nobody.getsockname()[1]})
            lost = await ended(factory, await ordered(factory, node, away))
        assert (lost["status"], applied(lost)) == ("rolled-back", ["requested", "sent", "trial", "rolled-back"])
        assert "the gateway was not reached" in lost["detail"]
        await until("revision 2 again in the registry", lambda: runs(factory, node, 2))

        # What the node would refuse whatever the signature says.
        older = await ended(factory, await ordered(factory, node, text_of(document, 1, relays=relays)))
        assert (older["status"], "revision: expected more than 2" in older["detail"]) == ("refused", True)


async def test_a_gateway_that_dies_after_it_told_the_node_tells_how_it_ended(tmp_path: Path) -> None:
    plan = FactoryPlan(nodes=1, seed=62, site_key=SITE_KEY_HEX, node_settings={"trial_s": 600})
    async with Factory(plan, find_checkout(), tmp_path) as factory:
        (node,) = factory.boards
        assert await factory.first_readings(START_LIMIT_S) == []
        document = running_document(factory, node)
        order = await ordered(factory, node, text_of(document, 1))

        async def told() -> bool:
            return bool((await factory.api.configuration(order))["status"] != "requested")

        await until("the gateway to have it", told)
        await factory.kill_gateway()
        before = (await factory.api.configuration(order))["status"]
        await factory.restart_gateway()
        found = await ended(factory, order)
        assert (found["status"], before in applied(found)) == ("confirmed", True)
        assert [entry for entry in found["audit"] if entry["status"] in FINAL and entry["status"] != "confirmed"] == []
        await until("revision 1 in the registry", lambda: runs(factory, node, 1))
