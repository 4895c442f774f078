from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from andon_workbench.faults.tcp_gate import GateState, Phase, TcpGate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT_S = 30
HEAD = b"POST /api/v2/write?bucket=b HTTP/1.1\r\nContent-Length: 4\r\n\r\n"


class Server:
    """Remembers what it got and answers every write whose body it has."""

    def __init__(self) -> None:
        self.got = b""
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            self.got += data
            self.changed.set()
            if self.got.endswith(b"body"):
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def until(self, end: bytes) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not self.got.endswith(end):
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def gate_and_server() -> AsyncIterator[tuple[TcpGate, Server, tuple[str, int]]]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    gate = TcpGate(listener.sockets[0].getsockname()[:2])
    address = await gate.open()
    try:
        yield gate, server, address
    finally:
        await gate.close()
        listener.close()


async def ask(address: tuple[str, int]) -> bytes:
    """Write head and body, and read until the end or an answer; b"" where the connection was cut."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(HEAD + b"body")
        return await asyncio.wait_for(reader.read(1000), LIMIT_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_open() -> None:
    async with gate_and_server() as (_, server, address):
        assert (await ask(address)).startswith(b"HTTP/1.1 204")
        assert server.got == HEAD + b"body"


async def test_refused_also_for_those_who_are_there() -> None:
    async with gate_and_server() as (gate, server, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello")
        await server.until(b"hello")
        gate.set(GateState.REFUSED)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(1000), LIMIT_S) == b""
        assert await ask(address) == b""
        assert server.got == b"hello"
        gate.set(GateState.OPEN)
        assert (await ask(address)).startswith(b"HTTP/1.1 204")
        writer.close()


async def test_silent_holds_and_delivers_later() -> None:
    async with gate_and_server() as (gate, server, address):
        gate.set(GateState.SILENT)
        asking = asyncio.create_task(ask(address))
        done, _ = await asyncio.wait({asking}, timeout=0.3)
        assert not done
        assert server.got == b""
        gate.set(GateState.OPEN)
        assert (await asking).startswith(b"HTTP/1.1 204")


@pytest.mark.parametrize(
    ("dropped", "arrived"), [(Phase.HEAD, b""), (Phase.BODY, HEAD), (Phase.ANSWER, HEAD + b"body")]
)
async def test_a_write_is_dropped_in_the_middle(dropped: Phase, arrived: bytes) -> None:
    async with gate_and_server() as (gate, server, address):
        seen: list[Phase] = []

        async def watch(phase: Phase) -> bool:
            seen.append(phase)
            return phase is not dropped

        gate.watch = watch
        assert await ask(address) == b""
        await server.until(arrived)
        assert server.got == arrived
        assert seen == list(Phase)[: list(Phase).index(dropped) + 1]
        gate.watch = None
        assert (await ask(address)).startswith(b"HTTP/1.1 204")
