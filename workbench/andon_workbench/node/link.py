"""The way to a board: mpremote's serial transport, with retries, and failures that say what to do."""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import io
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import serial
from mpremote.transport import TransportError, TransportExecError  # type: ignore[import-untyped]  # has no types
from mpremote.transport_serial import SerialTransport  # type: ignore[import-untyped]  # has no types
from serial.tools import list_ports

from andon_workbench.node import advice
from andon_workbench.node.errors import BoardError, BoardSilentError, NodeError, PortError, PortLostError, VerifyError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

BAUD: Final = 115_200
# A read that takes longer finds a dead line; a board answers a prompt within milliseconds, a full garbage collection included.
_READ_S: Final = 2.0
_ENTER_S: Final = 4.0
_LISTEN_S: Final = 2.0
_WAKE_S: Final = 0.4
_QUIET_S: Final = 0.1
_CHUNK: Final = 1024
_HASH_CHUNK: Final = 1024
_QUOTE: Final = 80

# A board whose tool went away must not stay at its prompt: the watchdog takes it back to measuring. It is fed with every
# file and every question. An STM32's watchdog waits half a minute at most, and once armed it cannot be stopped. Boards
# without a watchdog go on without.
_WATCHDOG_MS: Final = (120_000, 30_000)
# An STM32's files are below /flash, and it starts there; an ESP32's are below /.
_HOLD: Final = f"""\
import machine, os
_andon_root = "/flash" if os.getcwd().startswith("/flash") else "/"
try:
    machine.Timer(0).deinit()
except Exception:
    try:
        from andon_base import chip
        chip.stop_feeding()
    except Exception:
        pass
_andon_watchdog = None
for _andon_ms in {_WATCHDOG_MS}:
    try:
        _andon_watchdog = machine.WDT(timeout=_andon_ms)
        break
    except Exception:
        pass
def _andon_feed():
    if _andon_watchdog:
        _andon_watchdog.feed()
"""


def present_ports() -> list[str]:
    """The serial ports of this machine that have a device on USB."""
    return sorted(port.device for port in list_ports.comports() if port.vid is not None)


def choose_port(wanted: str | None) -> str:
    """The wanted port, or the only one there is.

    Raises:
        PortError: none was named, and there is none or more than one.
    """
    if wanted:
        return wanted
    present = present_ports()
    if len(present) == 1:
        return present[0]
    if not present:
        raise PortError("no board found on USB: name its port with --port (or ANDON_NODE_PORT); is it a data cable?")
    raise PortError(f"more than one port: choose with --port one of {', '.join(present)}")


class BoardLink:
    """A board in its raw REPL. A context manager: inside, its program is stopped; on leaving, the board is restarted.

    Every method raises `PortLostError` when the line breaks and `BoardError` when the board answers with an exception.
    """

    def __init__(self, port: str, *, attempts: int = 12, restart: bool = True) -> None:
        self.port = port
        self._attempts = attempts
        self._restart = restart
        self._transport: Any = None

    def __enter__(self) -> Self:
        self._transport = open_transport(self.port)
        try:
            self._enter_raw_repl()
            self.run(_HOLD)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._restart and self._transport is not None and not isinstance(error, PortLostError):
                with contextlib.suppress(NodeError):
                    self.restart()
        finally:
            self._close()

    def run(self, code: str) -> str:
        """Run code on the board and return what it printed."""
        with self._translated():
            return bytes(self._transport.exec(code)).decode(errors="replace").replace("\r\n", "\n")

    def evaluate(self, expression: str) -> Any:
        """Evaluate an expression of literals on the board."""
        with self._translated():
            return self._transport.eval(expression)

    def interrupt(self) -> None:
        """Stop what runs on the board now, as Ctrl-C does: its `finally` clauses have run when this returns."""
        with self._translated():
            self._transport.serial.write(b"\x03")
        self._listen(_LISTEN_S, b"\x04>")
        with self._translated():
            # Ctrl-A in raw mode gives a fresh prompt, which the next command waits for.
            self._transport.serial.write(b"\x01")

    def feed(self) -> None:
        """Put the watchdog off that takes an abandoned board back to its work."""
        self.run("_andon_feed()")

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        with self._translated():
            return bool(self._transport.fs_exists(path))

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._translated():
            return bytes(self._transport.fs_readfile(path, chunk_size=_CHUNK))

    def copy(self, path: str, data: bytes, progress: Callable[[int], None] | None = None) -> None:
        """Write a file; whether it arrived whole is for the caller to check."""

        def written(done: int, _total: int) -> None:
            if progress is not None:
                progress(done)

        self.feed()
        with self._translated():
            self._transport.fs_writefile(path, data, chunk_size=_CHUNK, progress_callback=written)

    def write(self, path: str, data: bytes) -> None:
        """Write a file and compare its hash as read back from the flash.

        Raises:
            VerifyError: the board holds something else.
        """
        self.copy(path, data)
        if self.sha256(path) != hashlib.sha256(data).digest():
            raise VerifyError(f"{path}: the board holds something else than was sent; try again, then another cable")

    def replace(self, path: str, data: bytes) -> None:
        """Write a file beside its place, check it, and only then move it there: whole old or whole new."""
        fresh = path + ".new"
        self.write(fresh, data)
        self.run(f"import os\nos.rename({fresh!r}, {path!r})")

    def sha256(self, path: str) -> bytes:
        """Hash a file on the board.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._translated():
            return bytes(self._transport.fs_hashfile(path, "sha256", chunk_size=_HASH_CHUNK))

    def restart(self) -> None:
        """Restart the board as its reset button does; the line leaves the raw REPL."""
        with self._translated():
            # The board is gone before it could answer.
            self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
            self._transport.in_raw_repl = False

    def restart_and_wait(self, ready: Callable[[str], bool], limit_s: float) -> list[str]:
        """Restart the board and return the lines of its console up to the one that `ready` accepts.

        Raises:
            BoardError: no such line came within `limit_s`; the message quotes what came instead.
        """
        self.restart()
        self._restart = False
        lines: list[str] = []
        for line in console_lines(self._transport.serial, limit_s):
            lines.append(line)
            if ready(line):
                return lines
        said = " | ".join(lines[-3:]) or "nothing"
        raise BoardError(f"{self.port}: the node did not report its start within {limit_s:g} s; it said: {said}")

    def _enter_raw_repl(self) -> None:
        self._wake()
        # With a soft reset, for a clean memory; a boot.py that hangs is gone round by doing without.
        for soft_reset in (True, False):
            with self._translated(), quiet():
                try:
                    self._transport.enter_raw_repl(soft_reset=soft_reset, timeout_overall=_ENTER_S)
                except TransportExecError:
                    raise
                except TransportError:
                    pass
                else:
                    return
            self._wake()
        raise BoardSilentError(f"{self.port}: the prompt answers, but its raw mode does not: is this MicroPython?")

    def _wake(self) -> None:
        """Interrupt whatever runs and get to the prompt; a board that is just starting loses what it is sent, so again."""
        heard = b""
        for _ in range(self._attempts):
            with self._translated():
                # Ctrl-C, then Ctrl-B: out of raw mode, or the banner once more.
                self._transport.serial.write(b"\r\x03\x02")
            heard += self._listen(_WAKE_S, b">>> ")
            if heard.endswith(b">>> "):
                heard += self._listen(_QUIET_S)
                if heard.endswith(b">>> "):
                    return
        raise BoardSilentError(advice.for_silence(self.port, heard + self._listen(_LISTEN_S)))

    def _listen(self, seconds: float, mark: bytes | None = None) -> bytes:
        heard = b""
        with self._translated():
            for chunk in raw_chunks(self._transport.serial, seconds):
                heard += chunk
                if mark is not None and heard.endswith(mark):
                    break
        return heard

    def _close(self) -> None:
        if self._transport is None:
            return
        with contextlib.suppress(OSError, TransportError, serial.SerialException):
            if self._transport.in_raw_repl:
                self._transport.exit_raw_repl()
        with contextlib.suppress(OSError, serial.SerialException):
            self._transport.close()
        with contextlib.suppress(OSError, serial.SerialException):
            self._transport.serial.close()
        self._transport = None

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        """Turn mpremote's and pyserial's exceptions into ours."""
        try:
            yield
        except TransportExecError as error:
            raise BoardError(f"{self.port}: {advice.for_board_error(error.error_output)}") from error
        except FileNotFoundError:
            raise
        except (TransportError, serial.SerialException, ValueError, SyntaxError, TypeError) as error:
            # pyserial reports a vanished port as SerialException or by closing it under mpremote's hands; a board that
            # resets in the middle leaves an answer that is no literal.
            raise PortLostError(
                f"{self.port}: the line broke off ({str(error)[:_QUOTE]}); nothing half-written is active. "
                "Check the cable, run the command again"
            ) from error
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF, errno.EPIPE, errno.ECONNRESET):
                raise PortLostError(
                    f"{self.port}: the port vanished; nothing half-written is active. Plug the board in, run the command again"
                ) from error
            raise BoardError(f"{self.port}: {advice.for_board_error(str(error))}") from error


def open_transport(port: str) -> Any:
    """Open mpremote's transport on a port.

    Raises:
        PortError: it cannot be opened; the message says why and what to do.
    """
    # By its own name a pty is read without polling; links such as /tmp/board hide what they are.
    device = port if "://" in port else os.path.realpath(port)
    try:
        return SerialTransport(device, baudrate=BAUD, timeout=_READ_S)
    except (TransportError, OSError, ValueError) as error:
        raise PortError(_why_not(port, error)) from error


def raw_chunks(line: Any, seconds: float) -> Generator[bytes]:
    """What a port says, as it comes, for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        waiting = line.in_waiting
        if waiting:
            yield line.read(waiting)
        else:
            time.sleep(0.01)


def console_lines(line: Any, seconds: float) -> Generator[str]:
    """The lines that a board's console prints, for some time."""
    pending = b""
    for chunk in raw_chunks(line, seconds):
        pending += chunk
        *lines, pending = pending.split(b"\n")
        for text in lines:
            yield text.decode(errors="replace").strip("\r\x04>")


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep mpremote from printing the unexpected; ours is the one line in the end."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _why_not(port: str, error: Exception) -> str:
    if "://" in port:
        return f"{port}: no connection ({error}); is the address right, and does the other side listen?"
    path = Path(port)
    if not path.exists():
        return advice.for_missing(port, present_ports())
    if not path.is_char_device():
        return f"{port}: not a serial port"
    if not os.access(path, os.R_OK | os.W_OK):
        return advice.for_permission(port, _group(path))
    return _why_still_not(port)


def _why_still_not(port: str) -> str:
    try:
        serial.Serial(port, BAUD, exclusive=True).close()
    except OSError as reason:
        if reason.errno in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "lock" in str(reason):
            return advice.for_busy(port)
        return f"{port}: cannot be opened: {reason}"
    return f"{port}: could not be opened at first; try again"


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        return "dialout"
