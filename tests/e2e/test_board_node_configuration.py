"""Configurations over the network: a document through the real cloud and gateway onto the rung's board."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from e2e.board_node import NODE, boots, document
from e2e.board_tools import ANDON, until
from firmware.update.vm import SITE_KEY

from andon_workbench.errors import CloudApiError
from andon_workbench.node.config import sign
from andon_workbench.rungs.capability import Capability

if TYPE_CHECKING:
    from pathlib import Path

    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console", "node", "network"),
]

LIMIT_S = 180.0
FINAL = ("confirmed", "refused", "rolled-back", "failed")


def text_of(document: dict[str, Any], revision: int, **changes: Any) -> bytes:
    """A document as an engineer writes it, long enough for several blocks."""
    return json.dumps({**document, **changes, "revision": revision}, indent=4).encode()


async def ordered(hall: Factory, document: bytes, signature: str | None = None) -> str:
    """Order through the API; the order's id."""
    answer = await hall.api.order_configuration(NODE, document, signature=signature, reason="test", expires_s=3600)
    return str(answer["id"])


async def ended(hall: Factory, order: str) -> dict[str, Any]:
    """The order at its end, with its log."""
    found: dict[str, Any] = {}

    async def end() -> bool:
        nonlocal found
        found = await hall.api.configuration(order)
        return found["status"] in FINAL

    await until(end, LIMIT_S, "the configuration has no end")
    return found


async def runs(hall: Factory, revision: int) -> None:
    """Wait until the registry says that the node runs a revision."""

    async def does() -> bool:
        return any(item["id"] == NODE and item["revision"] == revision for item in await hall.api.nodes())

    await until(does, LIMIT_S, f"revision {revision} is not in the registry")


def applied(order: dict[str, Any]) -> list[str]:
    """The statuses that moved the order."""
    return [entry["status"] for entry in order["audit"] if entry["applied"]]


async def pushed(file: Path, cloud: str, *options: str) -> tuple[int, str]:
    """Run `andon node config push` beside this loop; exit status and output."""
    words = ["node", "config", "push", NODE, str(file), "--cloud", cloud, "--reason", "test", *options]
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


async def revision_of(hall: Factory) -> int:
    """The revision that the node runs: these tests go on from each other's, and from those of a run before."""
    (revision,) = [int(item["revision"] or 0) for item in await hall.api.nodes() if item["id"] == NODE]
    return revision


async def test_what_becomes_of_a_configuration(node: Bench, hall: Factory, tmp_path: Path) -> None:
    first = await revision_of(hall)

    # A good one, by the command that CI would use.
    good = tmp_path / "good.json"
    good.write_bytes(text_of(document(node, hall), first + 1, pack_ms=2000))
    status, said = await pushed(good, hall.cloud.url)
    assert (status, said.splitlines()[-1]) == (0, f"{NODE}: configuration {first + 1} confirmed"), said
    await runs(hall, first + 1)
    newest = (await hall.api.configurations(NODE))[0]
    assert applied(await hall.api.configuration(newest["id"])) == ["requested", "sent", "trial", "confirmed"]

    # The power goes, and the board comes back with what was pushed: the node itself says which revision it runs.
    if Capability.POWER_CUT in node.capabilities:
        before = len(await boots(hall))
        await node.power_cut()
        await node.power_on()

        async def back() -> bool:
            return len(await boots(hall)) > before

        await until(back, LIMIT_S, "the board's next start is not in the store")
    again = await ended(hall, await ordered(hall, text_of(document(node, hall), first + 1, pack_ms=3000)))
    assert (again["status"], f"revision: expected more than {first + 1}" in again["detail"]) == ("refused", True)

    # One that endangers outputs: refused by the node without the site's signature, and by the cloud with a wrong one.
    running = document(node, hall)
    relays = [{**running["relays"][0], "min_on_s": 1}]
    touching = text_of(running, first + 2, relays=relays)
    refused = await ended(hall, await ordered(hall, touching))
    assert (refused["status"], applied(refused)) == ("refused", ["requested", "sent", "refused"])
    assert "4.03 relays: a change needs the site's signature" in refused["detail"]
    with pytest.raises(CloudApiError, match="not the site's signature"):
        await ordered(hall, touching, sign(touching + b" ", SITE_KEY))
    (tmp_path / "touching.json").write_bytes(touching)
    signature = f"sig={sign(touching, SITE_KEY)}"  # as andon node config sign prints it
    status, said = await pushed(tmp_path / "touching.json", hall.cloud.url, "--sig", signature)
    assert (status, said.splitlines()[-1]) == (0, f"{NODE}: configuration {first + 2} confirmed"), said

    # One with which the node cannot reach its gateway: nobody answers at that port.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind((node.host, 0))
        away = {"relays": relays, "gateway": {"host": node.host, "port": nobody.getsockname()[1]}, "trial_s": 5}
        lost = await ended(hall, await ordered(hall, text_of(document(node, hall), first + 3, **away)))
    assert (lost["status"], applied(lost)) == ("rolled-back", ["requested", "sent", "trial", "rolled-back"])
    assert "the gateway was not reached" in lost["detail"]
    await runs(hall, first + 2)

    # What the node would refuse whatever the signature says.
    older = await ended(hall, await ordered(hall, text_of(document(node, hall), first + 1, relays=relays)))
    assert (older["status"], f"revision: expected more than {first + 2}" in older["detail"]) == ("refused", True)


async def test_a_gateway_that_dies_after_it_told_the_node_tells_how_it_ended(node: Bench, hall: Factory) -> None:
    first = await revision_of(hall)
    # Signed, as the test before may have changed the relays that this document has.
    wanted = text_of(document(node, hall), first + 1, trial_s=600)
    order = await ordered(hall, wanted, sign(wanted, SITE_KEY))

    async def told() -> bool:
        return bool((await hall.api.configuration(order))["status"] != "requested")

    await until(told, LIMIT_S, "the gateway does not take it")
    await hall.kill_gateway()
    before = (await hall.api.configuration(order))["status"]
    await hall.restart_gateway()
    found = await ended(hall, order)
    assert (found["status"], before in applied(found)) == ("confirmed", True)
    assert [entry for entry in found["audit"] if entry["status"] in FINAL and entry["status"] != "confirmed"] == []
    await runs(hall, first + 1)
