"""Hands on the board of a rung: the andon commands, parts of the firmware on it, waiting with a limit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from andon_workbench.checkout import find_checkout
from andon_workbench.node.bundle import Bundle, build_bundle
from andon_workbench.node.deploy import deploy
from andon_workbench.node.link import BoardLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

ANDON = Path(sys.executable).with_name("andon")
# What the tests of parts need of the firmware: drivers, links, CoAP and the configuration. It fits beside a small heap.
_PARTS = (
    "andon_base/__init__",
    "andon_base/chip",
    "andon_node/__init__",
    "andon_node/boards/",
    "andon_node/clock",
    "andon_node/coap/",
    "andon_node/config",
    "andon_node/drivers/__init__",
    "andon_node/drivers/crc8",
    "andon_node/drivers/ds18b20",
    "andon_node/drivers/pulse",
    "andon_node/drivers/relay",
    "andon_node/drivers/si7021",
    "andon_node/net/",
)


def parts() -> Bundle:
    """The parts, compiled."""
    everything = build_bundle(find_checkout().firmware, compiled=True)
    return Bundle({path: data for path, data in everything.files.items() if path.startswith(_PARTS)})


def put_parts(port: str, config: bytes) -> None:
    """Put the parts and a configuration onto a board, as `andon node deploy` does with the whole firmware."""
    with BoardLink(port, attempts=30) as board:
        deploy(board, parts(), announce=lambda _plan: None, progress=lambda _path, _done: None)
        board.write("config.json", config)


@contextmanager
def prompt(port: str) -> Generator[BoardLink]:
    """The board at its prompt, the configuration loaded as `settings`."""
    with BoardLink(port, attempts=30) as board:
        board.run("from andon_node import config\nsettings = config.load('config.json')")
        yield board


async def andon(*words: str, act: Callable[[str], Awaitable[None]] | None = None) -> str:
    """Run an `andon` command beside this loop, which keeps an emulated board's line going; `act` is given each line it says."""
    process = await asyncio.create_subprocess_exec(
        ANDON, *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    lines = []
    async for line in process.stdout:
        lines.append(line.decode())
        if act is not None:
            await act(lines[-1])
    output = "".join(lines)
    assert await process.wait() == 0, output
    return output


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = 60.0, what: str = "not in time") -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.2)
