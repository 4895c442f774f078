"""A worker process: reads one of the sockets until the gateway ends it, or ends itself."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from andon_gateway.coap.datagrams import CoapSocket, Inside, source_of
from andon_gateway.coap.fast_path import FastCounts
from andon_gateway.operations.garbage_collection import collect_seldom
from andon_gateway.workers import frames
from andon_gateway.workers.path import WorkerPath
from andon_gateway.workers.upstream import MessageIds, Upstream, WorkerKeys

if TYPE_CHECKING:
    import socket

    from andon_gateway.coap.route import Route, SocketAddress

log = logging.getLogger(__name__)

COUNTS_EVERY_S: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class WorkerSocket(CoapSocket):
    """The socket of a worker, whose separate responses the gateway sends: they have to be repeated until acknowledged."""

    def __init__(self, inside: Inside, fast: WorkerPath, gather_s: float, tell: frames.Frames) -> None:
        super().__init__(inside, fast, gather_s)
        self._tell = tell

    def send_separately(self, code: int, token: bytes, rest: bytes, route: Route) -> None:
        """Have the gateway do it."""
        self._tell.send((frames.SEPARATE, code, token, rest, route.ancillary, route.address))


class Worker:
    """Everything of one worker process.

    Args:
        udp: The socket to read.
        gather_s: How long datagrams that come in numbers may wait for each other.
    """

    def __init__(self, udp: socket.socket, gather_s: float) -> None:
        self._udp = udp
        self._gather_s = gather_s
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.frames = frames.Frames(self._received, self._flow, self.ended.set)
        self._keys = WorkerKeys()
        self._ids = MessageIds(lambda: self.frames.send((frames.MORE_IDS,)))
        self._upstream = Upstream(self.frames.send, self._keys)
        self._path = WorkerPath(self._upstream, self._keys, source_of, self._loop.call_later, self._pass_on)
        self._datagrams: list[tuple[Any, ...]] = []
        self._told = FastCounts()
        self._socket: WorkerSocket | None = None

    def _received(self, message: frames.Message) -> None:
        kind, *rest = message
        match kind:
            case frames.ANSWERS:
                self._upstream.answered(*rest)
            case frames.KEYS:
                self._keys.replace(*rest)
                self._begin()
            case frames.USABLE:
                self._keys.allow(*rest)
            case frames.IDS:
                self._ids.add(*rest)
            case frames.STOP:
                self._stop()

    def _begin(self) -> None:
        """Read from now on, once the keys are here."""
        if self._socket is None:
            inside = Inside(self._udp, self._leave, self._error, self._no_aiocoap, self._ids.take, self._no_aiocoap)
            self._socket = WorkerSocket(inside, self._path, self._gather_s, self.frames)
            self.frames.send((frames.READY,))
            self._loop.call_later(COUNTS_EVERY_S, self._tell_regularly)

    def _flow(self, free: bool) -> None:  # noqa: FBT001 -- one callback for both, as `Frames` has it
        """Read only as fast as the gateway does: what it cannot take waits in the kernel, as without workers."""
        if self._socket is not None:
            (self._socket.resume if free else self._socket.pause)()

    def _leave(self, data: bytes, ancillary: Any, flags: int, address: SocketAddress) -> None:
        self._datagrams.append((data, ancillary, flags, address))

    def _pass_on(self) -> None:
        if self._datagrams:
            self.frames.send((frames.DATAGRAMS, self._path.now_ms, self._datagrams))
            self._datagrams = []

    def _error(self, data: bytes, ancillary: Any, flags: int, address: SocketAddress) -> None:
        self.frames.send((frames.ERRORS, [(data, ancillary, flags, address)]))

    def _no_aiocoap(self, *_: Any) -> None:
        raise AssertionError("a worker has no aiocoap; WorkerSocket does without")

    def _tell_regularly(self) -> None:
        """Also where there is nothing to tell: the gateway ends a worker that is silent (team.py)."""
        self._tell_counts()
        self._loop.call_later(COUNTS_EVERY_S, self._tell_regularly)

    def _tell_counts(self) -> None:
        now = {field.name: getattr(self._path.counts, field.name) for field in fields(FastCounts)}
        more = {name: value - getattr(self._told, name) for name, value in now.items()}
        self._told = FastCounts(**now)
        refused, heard = dict(self._keys.refused), self._keys.take_heard()
        self._keys.refused.clear()
        self.frames.send((frames.COUNTS, more, refused, heard))

    def _stop(self) -> None:
        """The gateway has answered everything: say what was counted, and end."""
        if self._socket is not None:
            self._socket.pause()
        self._tell_counts()
        self.frames.close()


async def work(udp: socket.socket, channel: socket.socket, gather_s: float) -> None:
    """Work until the gateway says stop, or is gone.

    Args:
        udp: Bound; read, and answered from, by this process alone, while the gateway sends on it as well.
        channel: The stream to the gateway.
        gather_s: How long datagrams that come in numbers may wait for each other.
    """
    loop = asyncio.get_running_loop()
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # sent to all processes of a service or a terminal; the gateway drains
        loop.add_signal_handler(number, lambda: None)
    udp.setblocking(False)
    worker = Worker(udp, gather_s)
    await loop.create_unix_connection(lambda: worker.frames, sock=channel)
    collect_seldom()
    await worker.ended.wait()


def die_with(parent: int) -> None:
    """Have the kernel end this process with its parent, even if it hangs: a port held by nobody's worker is lost to the next gateway."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
