"""`andon node emulate`: an emulated board on a serial port, wired to a simulated machine, as if plugged in by USB."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, Self

from andon_workbench.board import Board, BoardFiles
from andon_workbench.errors import WorkbenchError
from andon_workbench.node_config import WIRING
from andon_workbench.registers import RegisterFile
from andon_workbench.serial_line import SerialLine
from andon_workbench.world.kinds import KINDS
from andon_workbench.world.machine import Machine
from andon_workbench.world.runner import World, monotonic_us
from andon_workbench.world.station import Station

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from andon_workbench.checkout import Checkout


_START_LIMIT_S = 20.0
_LOOK_S = 0.02


class BenchBoard:
    """One board with a console and the machine it sits on. An async context manager: inside, it has power.

    `folder` keeps the flash image between runs; `link` is an additional name for the port, such as `/tmp/board`.
    """

    def __init__(
        self, folder: Path, checkout: Checkout, *, kind: str = "press", seed: int = 1, link: Path | None = None
    ) -> None:
        self.world = World()
        self.name = "bench"
        folder.mkdir(parents=True, exist_ok=True)
        registers = folder / "registers"
        # The machine begins anew with every run, the flash goes on.
        registers.unlink(missing_ok=True)
        self._registers = RegisterFile.create(registers)
        machine_kind = next((known for known in KINDS if known.name == kind), None)
        if machine_kind is None:
            raise WorkbenchError(f"--machine {kind}: expected one of {', '.join(known.name for known in KINDS)}")
        machine = Machine(machine_kind, Random(f"{seed}/{kind}"), monotonic_us())  # noqa: S311  a repeatable world, not secrets
        self.world.add(
            self.name, Station(self._registers, WIRING, machine, self.world.ledger.node(self.name), serial=1)
        )
        self.flash = folder / "flash.img"
        self.line = SerialLine(registers, link)
        files = BoardFiles(self.flash, registers, folder / "console.log")
        self.board = Board(self.name, files, checkout, line=self.line, blank=True)
        self._running: asyncio.Task[None] | None = None

    @property
    def port(self) -> str:
        """The serial port to connect to."""
        return self.line.port

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.world.run(), name="world")
        try:
            await self.board.power_on()
            async with asyncio.timeout(_START_LIMIT_S):
                while not self.flash.is_file():  # noqa: ASYNC110  the board process announces nothing to this loop
                    await asyncio.sleep(_LOOK_S)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.board.power_off()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        self.world.close()
