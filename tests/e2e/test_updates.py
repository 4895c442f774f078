"""Updates over the network: a signed bundle through the real cloud and gateway onto an emulated board with keys."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from e2e.limits import START_LIMIT_S
from firmware.update.emulated import compiled, sources
from firmware.update.vm import SITE_KEY, SITE_KEY_HEX

from andon_workbench.bundle.build import compile_package
from andon_workbench.bundle.format import Bundle
from andon_workbench.bundle.keys import sign
from andon_workbench.checkout import Checkout, find_checkout
from andon_workbench.factory import Factory
from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

T = TypeVar("T")
pytestmark = [pytest.mark.timeout(300), pytest.mark.needs_capability("fleet")]

ANDON = Path(sys.executable).with_name("andon")
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class QuickCheckout(Checkout):
    """Boards get firmware 1.0.0 whose trials take a second instead of a minute."""

    quick: Path

    @property
    def firmware(self) -> Path:
        """The compiled sources."""
        return self.quick


def bundle(compiled_files: Path, scratch: Path, version: str, changed: dict[str, str] | None = None) -> Path:
    """A signed bundle of the compiled application with some sources changed; only those and the version are compiled again."""
    package = scratch / version / "andon_node"
    package.mkdir(parents=True)
    for name, text in {"__init__.py": f'VERSION = "{version}"\n', **(changed or {})}.items():
        (package / name).write_text(text)
    root = compiled_files / "andon_node"
    files = {f"andon_node/{path.relative_to(root)}": path.read_bytes() for path in sorted(root.rglob("*.mpy"))}
    path = scratch / f"{version}.fw"
    path.write_bytes(sign(Bundle(version, files | compile_package(package.parent, version)), SITE_KEY).encode())
    return path


async def update_command(node: str, bundle: Path, cloud: str) -> tuple[int, str]:
    """Run `andon node update` beside this loop; exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *(ANDON, "node", "update", node, "--bundle", bundle, "--cloud", cloud, "--reason", "test"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run something meanwhile; whatever fails in between, it is over at the end, and the next test starts with a clean loop."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(what: str, condition: Callable[[], Awaitable[Any]], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition and return its value."""
    end = time.monotonic() + limit_s
    while not (value := await condition()):
        assert time.monotonic() < end, f"waited {limit_s} s for: {what}"
        await asyncio.sleep(0.1)
    return value


async def updates_of(factory: Factory, node: str) -> list[dict[str, Any]]:
    """The node's updates, newest first, each with its audit log."""
    found = await factory.api.updates(node)
    return [await factory.api.update(item["id"]) for item in found]


async def runs(factory: Factory, node: str, version: str) -> bool:
    """Whether the registry says that the node runs a version."""
    return any(item["id"] == node and item["firmware"] == version for item in await factory.api.nodes())


async def nothing_lost_but_at_resets(factory: Factory, node: str) -> None:
    """Nothing is stored twice, and a reset costs at most the reading under way. (It also misses pulses: nobody counts then.)"""
    await factory.drain(limit_s=0.0)
    board = factory.boards[node]

    async def complete() -> bool:
        differences = (await factory.reconcile()).differences
        assert all(item.duplicates == 0 for item in differences)
        missing = sum(item.missing for item in differences if item.quantity == "temperature")
        return missing <= board.resets + board.crashes

    await until("all readings in the store", complete)


async def test_good_update_is_confirmed_over_a_gateways_death_and_a_broken_one_rolled_back(tmp_path: Path) -> None:
    quick = compiled(sources(tmp_path / "sources", {}), tmp_path / "compiled")
    good = bundle(quick, tmp_path, "1.1.0")
    broken = bundle(quick, tmp_path, "1.2.0", {"node.py": "raise ValueError('not a good version')\n"})
    # The delay makes the fetching last for seconds, so that the gateway dies in the middle of it.
    plan = FactoryPlan(nodes=1, seed=51, impairment=Impairment(delay_s=0.02), site_key=SITE_KEY_HEX)
    (tmp_path / "factory").mkdir()
    async with Factory(plan, QuickCheckout(find_checkout().root, quick), tmp_path / "factory") as factory:
        (node,) = factory.boards
        assert await factory.first_readings(START_LIMIT_S) == []
        await until("1.0.0 in the registry", lambda: runs(factory, node, "1.0.0"))

        async def half_fetched() -> bool:
            newest = await factory.api.updates(node)
            return bool(newest) and newest[0]["status"] == "fetching" and newest[0]["received"] > 0

        async with beside(update_command(node, good, factory.cloud.url)) as command:
            await until("a part of the bundle on the node", half_fetched)
            await factory.kill_gateway()
            assert (await factory.api.updates(node))[0]["status"] == "fetching"
            await factory.restart_gateway()
            status, said = await command
        assert (status, said.splitlines()[-1]) == (0, f"{node}: 1.1.0 confirmed"), said
        await until("1.1.0 in the registry", lambda: runs(factory, node, "1.1.0"))

        status, said = await update_command(node, broken, factory.cloud.url)
        assert (status, "rolled back 1.2.0" in said) == (2, True), said
        await until("1.1.0 again in the registry", lambda: runs(factory, node, "1.1.0"))

        rolled_back, confirmed = await updates_of(factory, node)
        told = [
            [entry["status"] for entry in update["audit"] if entry["applied"]] for update in (confirmed, rolled_back)
        ]
        assert told[0] == ["requested", "sent", "fetching", "trial", "confirmed"]
        assert (told[1][:3], told[1][-1]) == (["requested", "sent", "fetching"], "rolled-back")
        times = confirmed["times"]
        assert sorted(times, key=times.__getitem__) == told[0]
        await nothing_lost_but_at_resets(factory, node)
