"""Server processes: started on a core of their own, watched for their ready line, measured by what the kernel says about them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parents[2]
READY_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 15.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_SCHEDULED: Final = 2  # a process's CPU clock by its id, as clock_getcpuclockid(3) makes it: in nanoseconds, where /proc counts ticks of 10 ms
_PPID, _RSS = 1, 21  # fields of /proc/PID/stat after the name, from 0 (proc(5))
_IDLE, _IO_WAIT = 3, 4  # fields of a core's line in /proc/stat, from 0
_PAGE_KB: Final = os.sysconf("SC_PAGE_SIZE") // 1024
_DISKLESS: Final = frozenset({"tmpfs", "ramfs", "devtmpfs", "proc", "sysfs"})


class ServerError(Exception):
    """A server did not start; the message says why."""


def cores() -> tuple[int, int]:
    """The generator's core and the server's; the same one on a machine with a single core."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def on_disk(folder: Path) -> bool:
    """Whether files in the folder survive a power cut: an fsync to memory would cost nothing and prove nothing."""
    folder = folder.resolve()
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return bool(holding) and max(holding)[1] not in _DISKLESS


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[_PPID])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads, and of its descendants that live."""
    total = 0.0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~one << 3 | _SCHEDULED)
    return total


def core_busy_s(core: int) -> float:
    """Time that a core was not idle since the machine's start, whoever used it."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    ticks = [int(field) for field in line.split()[1:9]]
    return (sum(ticks) - ticks[_IDLE] - ticks[_IO_WAIT]) / _TICKS_PER_S


def rss_kb(pid: int) -> int:
    """Resident memory of a process and its descendants."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += int(_stat(one)[_RSS]) * _PAGE_KB
    return total


class ServerProcess:
    """One server; use it as a context, it is killed at the end.

    Args:
        name: For messages.
        command: What to run; it prints `ready KEY=VALUE ...`.
        core: The only core that it and its threads may use.
        log: Where its standard error goes.
        environment: Additions to ours.
    """

    def __init__(
        self, name: str, command: Sequence[str], core: int, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,  # for `python -m bench...`
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
            )
        os.sched_setaffinity(self._process.pid, {core})  # it has no threads yet; those to come inherit it
        self._unread = b""

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def line(self, limit_s: float = READY_LIMIT_S) -> str:
        """The next line that it prints.

        Raises:
            ServerError: It printed none in time; with the end of its log.
        """
        deadline = time.monotonic() + limit_s
        assert self._process.stdout is not None  # noqa: S101  # a pipe was asked for
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(descriptor, 65536) if readable else b""
            if not data:
                raise ServerError(f"{self.name} says nothing: {self._log.read_text(errors='replace')[-800:].strip()}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def ready(self) -> dict[str, str]:
        """Wait for the ready line; gives its pairs.

        Raises:
            ServerError: See `line`.
        """
        line = self.line()
        if not line.startswith("ready"):
            raise ServerError(f"{self.name} is not ready: {line}")
        return dict(item.split("=", 1) for item in line.split()[1:])

    def ask_count(self) -> int:
        """The number of messages that one of the bench's own servers has handled: it prints it on SIGUSR2.

        Raises:
            ServerError: See `line`.
        """
        self._process.send_signal(signal.SIGUSR2)
        return int(self.line(10).removeprefix("count "))

    def cpu_s(self) -> float:
        """CPU time used so far."""
        return cpu_s(self.pid)

    def rss_kb(self) -> int:
        """Resident memory now."""
        return rss_kb(self.pid)

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.wait()
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.kill()
