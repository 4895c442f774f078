"""Boards and the machines they sit on: the physical half of a factory, used by `andon demo` and `andon simulate`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from random import Random
from typing import TYPE_CHECKING, Any, Self

from andon_workbench.board import Board, BoardFiles, Vm
from andon_workbench.node_config import UART, WIRING, node_config
from andon_workbench.registers import RegisterFile
from andon_workbench.world.machine import Machine
from andon_workbench.world.runner import STEP_S, World, monotonic_us
from andon_workbench.world.sensor_faults import FaultRates, SensorFaults
from andon_workbench.world.station import Station

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from andon_workbench.checkout import Checkout
    from andon_workbench.faults.serial_cable import SerialCable
    from andon_workbench.plan import Place


class EmulatedNodes:
    """All boards of a factory and their world. An async context manager: everything runs inside, nothing after."""

    def __init__(  # noqa: PLR0913  each names one part of the factory
        self,
        folder: Path,
        checkout: Checkout,
        places: Sequence[Place],
        *,
        seed: int,
        sample_ms: int,
        faults: FaultRates | None,
        cables: Mapping[str, SerialCable] | None = None,
        keys: Mapping[str, Mapping[str, str]] | None = None,
        site_key: str | None = None,
        settings: Mapping[str, Any] | None = None,
        step_s: float = STEP_S,
        patience: float = 1.0,
        vm: Vm = Vm.BITS_64,
    ) -> None:
        self.world = World(step_s=step_s)
        self.boards: dict[str, Board] = {}
        self._folder = folder
        self._checkout = checkout
        self._places = places
        self._seed = seed
        self._sample_ms = sample_ms
        self._faults = faults
        self._settings = settings or {}
        self._cables = cables or {}
        self._keys = keys or {}
        self._site_key = site_key
        self._patience = patience
        self._vm = vm
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(board.power_off() for board in self.boards.values()))
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        self.world.close()

    async def start(self, gateway: tuple[str, int]) -> None:
        """Build every machine, start the world, then power the boards, which find their gateway at the address.

        Raises:
            ComponentError: MicroPython cannot be started.
        """
        for place in self._places:
            self._build(place, gateway)
        self._running = asyncio.create_task(self.world.run(), name="world")
        for board in self.boards.values():
            await board.power_on()

    def check(self) -> None:
        """Raise what ended the world, if something did.

        Raises:
            RegisterFileError: the world was stopped for so long that it lost sight of some reads.
        """
        if self._running is not None and self._running.done():
            self._running.result()

    def _build(self, place: Place, gateway: tuple[str, int]) -> None:
        folder = self._folder / place.name
        folder.mkdir(parents=True, exist_ok=True)
        registers = RegisterFile.create(folder / "registers")
        # A generator per purpose and machine: more nodes or other faults do not change a machine's history.
        machine = Machine(place.kind, _generator(self._seed, place.name, "machine"), monotonic_us())
        faults = None
        if self._faults is not None:
            faults = SensorFaults(self._faults, _generator(self._seed, place.name, "faults"), monotonic_us())
        station = Station(
            registers,
            WIRING,
            machine,
            self.world.ledger.node(place.name),
            faults=faults,
            serial=place.number + 1,
        )
        self.world.add(place.name, station)
        cable = self._cables.get(place.name)
        config = folder / "config.json"
        document = {**node_config(place, None if cable else gateway, self._sample_ms), **self._settings}
        config.write_text(json.dumps(document, indent=1))
        put = {"/config.json": config}
        if place.name in self._keys:
            put["/keys.json"] = folder / "keys.json"
            _write_private(put["/keys.json"], json.dumps(self._keys[place.name]))
        if self._site_key is not None:
            put["/site_key.hex"] = folder / "site_key.hex"
            put["/site_key.hex"].write_text(self._site_key)
        files = BoardFiles(
            folder / "flash.img",
            folder / "registers",
            folder / "console.log",
            put,
            {UART: cable.node_port} if cable else {},
        )
        self.boards[place.name] = Board(place.name, files, self._checkout, vm=self._vm, patience=self._patience)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_text(text)


def _generator(seed: int, name: str, purpose: str) -> Random:
    return Random(f"{seed}/{name}/{purpose}")  # noqa: S311  a repeatable world, not secrets
