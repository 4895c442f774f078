"""Child processes that never outlive the workbench: started, watched for their ready line, killed by pid."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from andon_workbench.errors import ComponentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_LOG_LINES_IN_ERRORS = 5
_CHUNK = 4096
_INPUT_BACKLOG = 65536


def die_with_parent() -> None:
    """Run in the child before exec: ask Linux to kill it when the workbench dies, even by kill -9 (prctl(2))."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: arguments, additions to the environment, working folder."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


class ChildProcess:
    """One child process in its own group; its output goes to a log file, line by line."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path, listener: Callable[[bytes], None] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._listener = listener
        self._ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._pump = asyncio.create_task(self._copy_output(), name=f"output of {name}")

    @classmethod
    async def start(
        cls, name: str, command: Command, log: Path, listener: Callable[[bytes], None] | None = None
    ) -> ChildProcess:
        """Start the process; its output is appended to `log`.

        With a `listener` the process is interactive: the listener is given its output as it comes, `write` its input.

        Raises:
            ComponentError: the program cannot be started.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *map(str, command.arguments),
                stdin=asyncio.subprocess.DEVNULL if listener is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=command.folder,
                env={**os.environ, **command.environment},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise ComponentError(f"{name}: cannot start {command.arguments[0]}: {error.strerror}") from error
        return cls(name, process, log, listener)

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    async def ready(self, limit_s: float) -> dict[str, str]:
        """Wait for the line `ready KEY=VALUE ...` and return its pairs.

        Raises:
            ComponentError: the process ended before, or took longer than `limit_s`.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), limit_s)
        except TimeoutError:
            raise ComponentError(f"{self.name}: not ready after {limit_s:g} s; {self._log_end()}") from None

    async def wait(self) -> int:
        """Wait for the end of the process and of its output; return its exit status (negative: the signal)."""
        await asyncio.wait([self._pump])
        return await self._process.wait()

    def write(self, data: bytes) -> None:
        """Give an interactive process its input; what it leaves unread for too long is lost, as on a UART."""
        pipe = self._process.stdin
        if pipe is not None and self.running and pipe.transport.get_write_buffer_size() < _INPUT_BACKLOG:
            pipe.write(data)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, if it still lives."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def kill(self) -> None:
        """Kill -9, and wait until the process is gone."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def stop(self, grace_s: float = 5.0) -> int:
        """Ask the process to end; kill it when it has not after `grace_s`. Returns its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            await self.kill()
            return await self.wait()

    async def _copy_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  given by PIPE in `start`
        with self.log.open("ab", buffering=0) as log:
            while self._listener is not None and (data := await self._process.stdout.read(_CHUNK)):
                log.write(data)
                self._listener(data)
            async for line in self._process.stdout:
                log.write(line)
                if line.startswith(b"ready ") and not self._ready.done():
                    words = line.decode(errors="replace").split()[1:]
                    self._ready.set_result(dict(word.split("=", 1) for word in words if "=" in word))
        status = await self._process.wait()
        if not self._ready.done():
            self._ready.set_exception(
                ComponentError(f"{self.name}: ended with status {status} before it was ready; {self._log_end()}")
            )
            self._ready.exception()  # looked at here, so that nobody has to wait for readiness

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_IN_ERRORS:]
        return f"log {self.log}: " + " | ".join(line.strip() for line in lines if line.strip())
