"""The gateway keeps nothing for a message: not as objects, and not as holes in the heap. Runs of 10^6 messages are in bench/README.md."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import subprocess
import sys
import tracemalloc
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from andon_gateway.app import build
from andon_gateway.coap import fast_path
from andon_gateway.coap.recent import RecentRequests
from andon_gateway.settings import load_settings
from bench.gateway import andon, fleet
from bench.gateway.load import Generator
from bench.gateway.packs import READINGS
from bench.gateway.processes import ServerProcess, cores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from andon_gateway.gateway import Gateway
    from bench.gateway.fleet import PlainNode, ProtectedNode

EACH = 8
REMEMBERED = 1024
ROUND = 2048
"""Messages; two rounds fill whatever is bounded, two more must add nothing."""
PATIENCE_S = 100.0
LEAST_OBJECT_BYTES = 16
"""Of Python; what else differs from round to round comes to a third of one for each message."""


# Elsewhere the gateway leaves malloc as it is, so there is nothing to test; Debian, where CI runs, has it.
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc 2.33 or newer: another malloc")
def test_the_table_of_recent_requests_leaves_no_holes_in_the_heap() -> None:
    script = Path(__file__).with_name("recent_in_heap.py")
    ran = subprocess.run([sys.executable, script, "apart"], capture_output=True, check=True, timeout=100)
    before, after = json.loads(ran.stdout)
    assert after - before < 2 << 20  # a table has 5 MB; without the limits another one comes to lie there


def connect(port: int) -> list[PlainNode | ProtectedNode]:
    """As many nodes with OSCORE as without."""
    address = ("127.0.0.1", port)
    return [*fleet.protected_nodes(EACH, address), *fleet.plain_nodes(EACH, address, first=EACH)]


async def send(nodes: Sequence[PlainNode | ProtectedNode], count: int) -> None:
    """Messages of all nodes, each answered with 2.04."""
    for node in nodes:
        node.prepare(count // len(nodes))
    with closing(Generator([node.lane for node in nodes])) as generator:
        tally = await asyncio.to_thread(generator.saturate, PATIENCE_S, window=len(nodes))
    assert (tally.answered, dict(tally.others)) == (count, {})
    for node in nodes:
        if isinstance(node, fleet.ProtectedNode):
            node.check_answers()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait in a thread; the gateway has this one."""
    await asyncio.to_thread(andon.wait_until, condition, what, PATIENCE_S)


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@asynccontextmanager
async def gateway_in_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Gateway]:
    """A gateway in this thread, so that it can be traced, before a stand-in cloud in a process of its own, which keeps no lines."""
    table, config = folder / "cloud.json", folder / "gateway.toml"
    table.write_text(json.dumps({"nodes": fleet.names(2 * EACH), "keys": fleet.key_table(EACH)}))
    command = [sys.executable, "-m", "bench.gateway.stand_in_cloud", str(table)]
    with ServerProcess("stand-in cloud", command, cores()[0], folder / "cloud.log") as cloud:
        settings = andon.TOML.format(
            gateway=andon.GATEWAY, folder=folder, cloud=f"http://{cloud.ready()['http']}", workers=1
        )
        config.write_text(settings + andon.UNLIMITED)
        gateway = await build(load_settings(config), config, andon.TOKEN, "")
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        try:
            await until(lambda: capsys.readouterr().out.startswith("ready"), "a gateway that serves")
            await until(lambda: len(gateway.keys) == EACH, "the nodes' keys")
            yield gateway
        finally:
            stop.set()
            await running


@pytest.mark.timeout(400)
async def test_nothing_is_kept_for_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What is remembered for as long as the protocol wants is bounded, and here so low that the first round fills it.
    monkeypatch.setattr(fast_path, "RecentRequests", partial(RecentRequests, REMEMBERED))
    async with gateway_in_process(tmp_path, capsys) as gateway:
        nodes = await asyncio.to_thread(connect, gateway.coap.port)
        taken, sent = gateway.intake.counts, gateway.uplink.counts
        tracemalloc.start()
        try:
            sizes = []
            for _ in range(4):
                await send(nodes, ROUND)
                for node in nodes:  # the last group stays until the next one comes: let it be small
                    await send([node], 1)
                await until(lambda: sent.points == READINGS * taken.packs, "all lines to be stored")
                sizes.append(traced())
        finally:
            tracemalloc.stop()
        fleet.close(nodes)
    assert sizes[3] - sizes[1] < 2 * ROUND * LEAST_OBJECT_BYTES
