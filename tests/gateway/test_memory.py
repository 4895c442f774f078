"""The gateway keeps nothing for a message: not as objects, and not as holes in the heap. Runs of 10^6 messages are in bench/README.md."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import subprocess
import sys
import tracemalloc
from contextlib import closing
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
from bench.gateway.processes import ServerProcess, cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gateway.fleet import PlainNode, ProtectedNode

NODES = 16
REMEMBERED = 1024
ROUND = 2048
"""Messages; two rounds fill whatever is bounded, two more must add nothing."""
PATIENCE_S = 60.0
LEAST_OBJECT_BYTES = 16
"""Of Python; what else differs from round to round comes to a third of one for each message."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc 2.33 or newer: another malloc")
def test_the_table_of_recent_requests_leaves_no_holes_in_the_heap() -> None:
    script = Path(__file__).with_name("recent_in_heap.py")
    ran = subprocess.run([sys.executable, script, "apart"], capture_output=True, check=True, timeout=100)
    before, after = json.loads(ran.stdout)
    assert after - before < 2 << 20  # a table has 5 MB; without the limits two more of them come to lie there


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


async def until(condition: object, what: str) -> None:
    """Wait in a thread; the gateway has this one."""
    await asyncio.to_thread(andon.wait_until, condition, what, PATIENCE_S)


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "oscore"])
async def test_nothing_is_kept_for_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, protected: bool
) -> None:
    # What is remembered for as long as the protocol wants is bounded, and here so low that the warm-up fills it.
    monkeypatch.setattr(fast_path, "RecentRequests", partial(RecentRequests, REMEMBERED))
    table = tmp_path / "cloud.json"
    keys = fleet.key_table(NODES) if protected else {}
    table.write_text(json.dumps({"nodes": fleet.names(NODES), "keys": keys}))
    command = [sys.executable, "-m", "bench.gateway.stand_in_cloud", str(table)]
    with ServerProcess("stand-in cloud", command, cores()[0], tmp_path / "cloud.log") as cloud:
        config = tmp_path / "gateway.toml"
        url = f"http://{cloud.ready()['http']}"
        config.write_text(
            andon.TOML.format(gateway=andon.GATEWAY, folder=tmp_path, cloud=url, workers=1) + andon.UNLIMITED
        )
        gateway = await build(load_settings(config), config, andon.TOKEN, "")
        stop = asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        try:
            await until(lambda: capsys.readouterr().out.startswith("ready"), "a gateway that serves")
            await until(lambda: len(gateway.keys) == len(keys), "keys")
            make = fleet.protected_nodes if protected else fleet.plain_nodes
            nodes = await asyncio.to_thread(make, NODES, ("127.0.0.1", gateway.coap.port))
            tracemalloc.start()
            sizes = []
            for _ in range(4):
                await send(nodes, ROUND)
                for node in nodes:  # the last group and the last batch stay until the next ones: let them be small
                    await send([node], 1)
                await until(lambda: gateway.uplink.counts.points == 8 * gateway.intake.counts.packs, "all lines stored")
                sizes.append(traced())
        finally:
            tracemalloc.stop()
            stop.set()
            await running
        fleet.close(nodes)
    assert sizes[3] - sizes[1] < 2 * ROUND * LEAST_OBJECT_BYTES
