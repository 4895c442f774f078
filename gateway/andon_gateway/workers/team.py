"""All worker processes of a gateway: started, started again when one ends, and stopped last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

from andon_gateway.backoff import Backoff
from andon_gateway.security.oscore import ReplayWindow
from andon_gateway.settings import INFLUX_TOKEN_VARIABLE, TOKEN_VARIABLE
from andon_gateway.workers.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.workers.desk import Office

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
MOST_PAUSE_S: Final = 5.0
LASTING_S: Final = 10.0
"""A worker that lived as long is started again without a longer pause."""
READY_S: Final = 30.0
STOP_S: Final = 5.0
LOOK_S: Final = 3.0
SILENT_LOOKS: Final = 10
"""A ready worker sends twice a second; one that was silent at so many looks hangs."""


class Team:
    """Used in the gateway's event loop.

    Args:
        sockets: One for each worker, all of the same port. They stay open here, so that what comes while a worker is started again waits.
        log_level: For the workers' own lines.
        gather_s: How long datagrams that come in numbers may wait for each other.
    """

    def __init__(self, sockets: Sequence[socket.socket], log_level: str, gather_s: float) -> None:
        self._gather_s = gather_s
        self._sockets = sockets
        self._office: Office | None = None
        self._log_level = log_level
        self._desks: dict[int, Desk] = {}
        self._ready: set[int] = set()
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.restarts = 0

    @property
    def ready(self) -> int:
        """Workers that read their socket now."""
        return len(self._ready)

    @property
    def complete(self) -> bool:
        """Whether all do."""
        return len(self._ready) == len(self._sockets)

    async def start(self, office: Office) -> None:
        """Start all; returns when all read, or after a while without some, which are tried again."""
        self._office = office
        office.keys.on_change.append(self._keys_changed)
        self._keys_changed()
        self._tasks = [
            asyncio.create_task(self._keep_running(place), name=f"worker {place}")
            for place in range(len(self._sockets))
        ]
        try:
            async with asyncio.timeout(READY_S):
                while not self.complete:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.error("only %d of %d workers are ready; the others' nodes wait", self.ready, len(self._sockets))  # noqa: TRY400 -- nothing was raised that matters

    async def stop(self) -> None:
        """End all; whatever they have handed over is answered by now."""
        self._stopping.set()
        for desk in self._desks.values():
            desk.stop()
        _, late = await asyncio.wait(self._tasks, timeout=STOP_S) if self._tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for own in self._sockets[1:]:  # the first is aiocoap's to close
            own.close()

    async def _keep_running(self, place: int) -> None:
        pauses = Backoff(FIRST_PAUSE_S, MOST_PAUSE_S)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started_s = loop.time()
            try:
                end = f"status {await self._run(place)}"
            except OSError as error:
                end = str(error)
            if self._stopping.is_set():
                return
            if loop.time() - started_s > LASTING_S:
                pauses.reset()
            self.restarts += 1
            log.error("worker %d ended (%s) and is started again; its datagrams wait", place, end)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pauses.next_s())

    async def _run(self, place: int) -> int:
        """One life of a worker; gives its exit status."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs:
                process = await self._spawn(self._sockets[place].fileno(), theirs.fileno())
        except OSError:
            ours.close()
            raise
        assert self._office is not None  # noqa: S101 -- `start` has it
        desk = Desk(self._office, lambda: self._is_ready(place, ready=True), lambda: self._is_ready(place, ready=False))
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: desk.frames, sock=ours)
            self._desks[place] = desk
            desk.tell_ids()
            desk.tell_keys()
            watch = asyncio.create_task(self._watch(place, desk, process), name=f"watch over worker {place}")
            try:
                return await process.wait()
            finally:
                watch.cancel()
        finally:
            self._desks.pop(place, None)
            desk.frames.abort()
            self._is_ready(place, ready=False)
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _watch(self, place: int, desk: Desk, process: asyncio.subprocess.Process) -> None:
        """End a worker that hangs. Looks are counted, not seconds: where the gateway itself has no time, none is lost by it."""
        silent, seen = 0, -1
        while silent < SILENT_LOOKS:
            await asyncio.sleep(LOOK_S)
            silent = silent + 1 if place in self._ready and desk.messages == seen else 0
            seen = desk.messages
        log.error("worker %d says nothing any more and is ended", place)
        process.kill()

    async def _spawn(self, *descriptors: int) -> asyncio.subprocess.Process:
        secrets = {TOKEN_VARIABLE, INFLUX_TOKEN_VARIABLE}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "andon_gateway.workers", *map(str, descriptors), str(os.getpid()), self._log_level, str(self._gather_s),
            pass_fds=descriptors, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in secrets},
        )  # fmt: skip

    def _is_ready(self, place: int, *, ready: bool) -> None:
        (self._ready.add if ready else self._ready.discard)(place)
        self._changed.set()

    def _keys_changed(self) -> None:
        assert self._office is not None  # noqa: S101 -- `start` has it
        for context in self._office.keys.contexts():
            if not isinstance(context.window, TellingWindow):
                context.window = TellingWindow(context.credential.node_id, self._usable)
        for desk in self._desks.values():
            desk.tell_keys()

    def _usable(self, kid: bytes) -> None:
        for desk in self._desks.values():
            desk.tell_usable(kid)


class TellingWindow(ReplayWindow):
    """A replay window that says when it becomes usable; new, like the context that it is put into."""

    __slots__ = ("_kid", "_tell")

    def __init__(self, kid: bytes, tell: Callable[[bytes], None]) -> None:
        super().__init__()
        self._kid = kid
        self._tell = tell

    def restart(self, number: int) -> None:
        """Begin, and tell the workers that they may open this node's messages."""
        super().restart(number)
        self._tell(self._kid)
