"""The serial line of an emulated board: a pty that tools open like a USB port, while board processes come and go."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import pty
import select
import signal
import struct
import termios
import tty
from typing import TYPE_CHECKING

from andon_workbench.errors import ComponentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# docs/emulation.md, "Console": offsets in the register file.
_REQUESTED = 48
_INTERRUPTIBLE = 52
_HANDLED = 56
_CTRL_C = b"\x03"
_CHUNK = 4096
# How soon a program that opened the port is noticed.
_LOOK_S = 0.02
# More than this unread by the other side is lost, as on a UART without flow control.
_BACKLOG = 65536
# A program that asks for no ticks (a bare loop) does not see Ctrl-C; after this it is interrupted by signal.
_SIGNAL_AFTER_S = 1.0


class SerialLine:
    """A pty whose slave is the board's port. Bytes go both ways; Ctrl-C interrupts the running program.

    Nothing is kept for a port that nobody has open. Use `open` and `close`, or the board does.
    """

    def __init__(self, registers: Path, link: Path | None = None) -> None:
        self.port = ""
        self._registers = registers
        self._link = link
        self._master = -1
        self._map: mmap.mmap | None = None
        self._to_board: Callable[[bytes], None] | None = None
        self._pid: int | None = None
        self._pending = bytearray()
        self._connected = False
        self._writing = False
        self._waiting: asyncio.TimerHandle | None = None
        self._escalation: asyncio.TimerHandle | None = None

    def open(self) -> str:
        """Make the pty and return the path of its port.

        Raises:
            ComponentError: the system has no pty left, or the link's name is taken.
        """
        if self._master >= 0:
            return self.port
        try:
            self._master, slave = pty.openpty()
            tty.setraw(slave)
            self.port = os.ttyname(slave)
            os.close(slave)
            os.set_blocking(self._master, False)
            if self._link is not None:
                if self._link.is_symlink():
                    self._link.unlink()
                self._link.symlink_to(self.port)
            with self._registers.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 64)
        except OSError as error:
            self.close()
            raise ComponentError(f"no serial line for the board: {error}") from error
        self._wait_for_client()
        return self.port

    def close(self) -> None:
        """Unplug the port: whoever has it open sees it vanish."""
        for timer in (self._waiting, self._escalation):
            if timer is not None:
                timer.cancel()
        if self._master >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._master)
            loop.remove_writer(self._master)
            os.close(self._master)
            self._master = -1
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()
        self._connected = False

    def attach(self, pid: int, to_board: Callable[[bytes], None]) -> None:
        """Connect a board process: its id, and where its input goes."""
        self._pid = pid
        self._to_board = to_board

    def detach(self) -> None:
        """The board process is gone; the port stays."""
        self._pid = None
        self._to_board = None

    def from_board(self, data: bytes) -> None:
        """Take the board's output."""
        if not self._connected:
            return
        self._pending += data
        if len(self._pending) > _BACKLOG:
            del self._pending[: len(self._pending) - _BACKLOG]
        self._flush()

    def _flush(self) -> None:
        while self._pending:
            try:
                sent = os.write(self._master, self._pending)
            except BlockingIOError:
                if not self._writing:
                    self._writing = True
                    asyncio.get_running_loop().add_writer(self._master, self._flush)
                return
            except OSError:
                self._disconnected()
                return
            del self._pending[:sent]
        if self._writing:
            self._writing = False
            asyncio.get_running_loop().remove_writer(self._master)

    def _wait_for_client(self) -> None:
        # A pty's master polls as hung up while nobody has the slave open (tty_ioctl(4) has no event for opening it).
        poller = select.poll()
        poller.register(self._master, select.POLLIN)
        loop = asyncio.get_running_loop()
        if any(events & select.POLLHUP for _, events in poller.poll(0)):
            self._waiting = loop.call_later(_LOOK_S, self._wait_for_client)
            return
        self._waiting = None
        self._connected = True
        loop.add_reader(self._master, self._from_client)

    def _disconnected(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        self._writing = False
        self._connected = False
        self._pending.clear()
        with contextlib.suppress(termios.error):
            termios.tcflush(self._master, termios.TCIOFLUSH)
        self._wait_for_client()

    def _from_client(self) -> None:
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._disconnected()
            return
        # In pieces: what follows a Ctrl-C may meet another state of the board.
        while data:
            head, interrupt, data = data.partition(_CTRL_C)
            if interrupt and not self._interrupt():
                head += interrupt
            if head and self._to_board is not None:
                self._to_board(head)

    def _interrupt(self) -> bool:
        """Do what the UART's interrupt handler does with Ctrl-C; return whether that was all."""
        if self._map is None or self._pid is None or not self._map[_INTERRUPTIBLE]:
            return False
        (requested,) = struct.unpack_from("<I", self._map, _REQUESTED)
        struct.pack_into("<I", self._map, _REQUESTED, (requested + 1) & 0xFFFF_FFFF)
        if self._escalation is not None:
            self._escalation.cancel()
        self._escalation = asyncio.get_running_loop().call_later(_SIGNAL_AFTER_S, self._escalate, self._pid)
        return True

    def _escalate(self, pid: int) -> None:
        self._escalation = None
        if self._map is None or pid != self._pid or not self._map[_INTERRUPTIBLE]:
            return
        requested, handled = (struct.unpack_from("<I", self._map, at)[0] for at in (_REQUESTED, _HANDLED))
        if requested != handled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
