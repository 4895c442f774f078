"""TCP proxy in front of a server that can be shut, and that shows each write request to a watcher."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Address = tuple[str, int]
_CHUNK = 65536
_WRITE = b"POST /api/v2/write"
_END_OF_HEAD = b"\r\n\r\n"


class GateState(Enum):
    """What becomes of connections: forwarded; reset, also the open ones; held, as by a network that swallows packets.

    What was held is delivered when the gate is open again, also what a dead sender had sent: the network does the same.
    """

    OPEN = "open"
    REFUSED = "refused"
    SILENT = "silent"


class Phase(Enum):
    """How far a write request (InfluxDB's `/api/v2/write`) has come."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"


class TcpGate:
    """Forwards between clients and one server.

    Attributes:
        watch: Asked with each part of a write request before it is forwarded; False drops it with its connection.
    """

    watch: Callable[[Phase], Awaitable[bool]] | None = None

    def __init__(self, server: Address) -> None:
        self._target = server
        self._passable = asyncio.Event()
        self._passable.set()
        self._state = GateState.OPEN
        self._listener: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> Address:
        """Listen; return the address that clients must use."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return cast("Address", self._listener.sockets[0].getsockname()[:2])

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set(self, state: GateState) -> None:
        """Treat connections like this from now on."""
        self._state = state
        if state is GateState.SILENT:
            self._passable.clear()
        else:
            self._passable.set()
        if state is GateState.REFUSED:
            for connection in self._connections:
                connection.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("streams are served in tasks")
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passable.wait()
        if self._state is GateState.REFUSED:
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            return
        connection = _Connection(self, (reader, writer), (server_reader, server_writer))
        self._connections.add(connection)
        try:
            with contextlib.suppress(OSError):
                await connection.run()
        finally:
            self._connections.discard(connection)
            server_writer.transport.abort()

    async def admit(self, phase: Phase | None) -> bool:
        """Whether a part of a connection's traffic goes on; waits while the gate is silent."""
        watch = self.watch
        if phase is not None and watch is not None and not await watch(phase):
            return False
        await self._passable.wait()
        return self._state is not GateState.REFUSED


class _Connection:
    """Two pumps; `_phase` follows the write request that is under way, if one is."""

    def __init__(
        self,
        gate: TcpGate,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._gate = gate
        self._client = client
        self._server = server
        self._phase: Phase | None = None

    def abort(self) -> None:
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def run(self) -> None:
        """Forward both ways until both have ended or a part was not admitted."""
        await asyncio.gather(self._pump_up(), self._pump_down())

    async def _pump_up(self) -> None:
        reader, writer = self._client[0], self._server[1]
        while data := await reader.read(_CHUNK):
            for part in self._parts(data):
                if not await self._forward(part, writer):
                    return
        if await self._gate.admit(None):
            writer.write_eof()

    def _parts(self, data: bytes) -> Iterator[bytes]:
        """Head and body of a write apart, also where one packet brought both."""
        if data.startswith(_WRITE):
            self._phase = Phase.HEAD
            head, end, data = data.partition(_END_OF_HEAD)
            yield head + end
        if data:
            if self._phase is not None:
                self._phase = Phase.BODY
            yield data

    async def _pump_down(self) -> None:
        reader, writer = self._server[0], self._client[1]
        while data := await reader.read(_CHUNK):
            if self._phase is not None:
                self._phase = Phase.ANSWER
            if not await self._forward(data, writer):
                return
            self._phase = None
        if await self._gate.admit(None):
            writer.write_eof()

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        if not await self._gate.admit(self._phase):
            self.abort()
            return False
        writer.write(data)
        await writer.drain()
        return True
