"""Wired nodes: one slipmux line per serial port, carried to the gateway's own UDP socket and back.

A line is a loopback UDP peer of the CoAP endpoint, so a wired node goes through the same intake, registration, commands
and OSCORE as any other; its address is that of its line's socket. The ends are transparent: no CoAP is understood here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import termios
import tty
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from andon_gateway.backoff import Backoff
from andon_gateway.serial import slipmux

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

REOPEN_FIRST_S: Final = 0.2
REOPEN_MOST_S: Final = 5.0
_READ_BYTES: Final = 4096
_MOST_UNSENT_BYTES: Final = 65536
"""What may wait for a line that takes nothing; datagrams beyond it are lost, as on any slow link."""


def open_port(path: Path, baud: int) -> int:
    """Open a serial port raw, 8N1, without flow control; the descriptor does not block.

    Raises:
        OSError: It is not there, not ours, or no serial port.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(descriptor)
        mode = termios.tcgetattr(descriptor)
        mode[2] = mode[2] & ~(termios.PARENB | termios.CSTOPB | termios.CRTSCTS) | termios.CLOCAL | termios.CREAD
        mode[4] = mode[5] = getattr(termios, f"B{baud}")
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        termios.tcflush(descriptor, termios.TCIOFLUSH)
    except (termios.error, AttributeError) as error:
        os.close(descriptor)
        raise OSError(f"{path}: {baud} baud cannot be set ({error})") from None
    return descriptor


@dataclass(slots=True)
class LineCounts:
    """Counts since the start of the process, for /metrics."""

    up: int = 0
    down: int = 0
    broken: int = 0
    lost: int = 0


class SerialLine:
    """One port; keeps it open for as long as the gateway runs.

    Args:
        path: The port, such as /dev/ttyUSB0.
        baud: Its speed.
        gateway: Where the CoAP endpoint listens.
    """

    def __init__(self, path: Path, baud: int, gateway: tuple[str, int]) -> None:
        self.path = path
        self.counts = LineCounts()
        self.connected = False
        self._baud = baud
        self._gateway = gateway
        self._unsent = bytearray()
        self._descriptor = -1
        self._decoder = slipmux.Decoder()
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Serve the port for ever; one that vanishes is opened again when it is back."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._gateway[0] else socket.AF_INET
        # Connected: the kernel drops what does not come from the gateway's own socket.
        peer, _ = await loop.create_datagram_endpoint(
            lambda: _FromGateway(self), remote_addr=self._gateway, family=family
        )
        try:
            backoff = Backoff(REOPEN_FIRST_S, REOPEN_MOST_S)
            told = False
            while True:
                try:
                    descriptor = open_port(self.path, self._baud)
                except OSError as error:
                    if not told:
                        log.warning("serial port %s: %s; trying again until it is there", self.path, error)
                        told = True
                    await asyncio.sleep(backoff.next_s())
                    continue
                backoff.reset()
                told = False
                await self._serve(descriptor, peer)
                log.warning("serial port %s is gone", self.path)
                await asyncio.sleep(backoff.next_s())
        finally:
            peer.close()

    async def _serve(self, descriptor: int, peer: asyncio.DatagramTransport) -> None:
        loop = asyncio.get_running_loop()
        log.info("serial port %s open at %d baud", self.path, self._baud)
        self._descriptor = descriptor
        self._decoder = slipmux.Decoder()
        self._gone.clear()
        self.connected = True
        loop.add_reader(descriptor, self._read, peer)
        try:
            await self._gone.wait()
        finally:
            self.connected = False
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            self._descriptor = -1
            self._unsent.clear()
            os.close(descriptor)

    def _read(self, peer: asyncio.DatagramTransport) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # A terminal that reads as ended has been unplugged.
            self._gone.set()
            return
        before = self._decoder.broken
        received = self._decoder.feed(data)
        self.counts.broken += self._decoder.broken - before
        for message in received.messages:
            self.counts.up += 1
            peer.sendto(message)
        for text in received.diagnostics:
            log.info("serial port %s says: %s", self.path, text.rstrip())

    def send(self, message: bytes) -> None:
        """Send a CoAP message down the line; while there is no line it is lost, like any datagram."""
        if not self.connected or len(self._unsent) > _MOST_UNSENT_BYTES:
            self.counts.lost += 1
            return
        self.counts.down += 1
        idle = not self._unsent
        self._unsent += slipmux.encode(message)
        if idle:
            self._write()

    def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            del self._unsent[: os.write(self._descriptor, self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._gone.set()
            return
        if self._unsent:
            loop.add_writer(self._descriptor, self._write)
        else:
            loop.remove_writer(self._descriptor)


class _FromGateway(asyncio.DatagramProtocol):
    """The CoAP endpoint's datagrams for the node at the other end of the line."""

    def __init__(self, line: SerialLine) -> None:
        self._line = line

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 -- asyncio's signature; the socket is connected
        """Down the line."""
        self._line.send(data)

    def error_received(self, exc: Exception) -> None:
        """The endpoint is not listening yet or no longer: as with any datagram."""
        log.debug("loopback of %s: %s", self._line.path, exc)


def local_address(bind: str, port: int) -> tuple[str, int]:
    """Where the CoAP endpoint is reached from this machine: its own address, or loopback where it listens on all."""
    return {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1", "": "127.0.0.1"}.get(bind, bind), port  # noqa: S104 -- compared, not bound
