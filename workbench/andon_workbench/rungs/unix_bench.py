"""An emulated board on MicroPython's unix port, its pins and its sensor in our hands."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from andon_workbench.board import Board, BoardFiles
from andon_workbench.faults.serial_cable import CableFaults, SerialCable
from andon_workbench.registers import Edge, RegisterFile, rom_code
from andon_workbench.rungs.capability import ALL_UNIX
from andon_workbench.serial_line import SerialLine
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from andon_workbench.checkout import Checkout

_START_LIMIT_S = 60.0
_LOOK_S = 0.02
_HALF_PERIOD_S = 0.05
_ROOM_CELSIUS = 21.5
_ROOM_HUMIDITY_WORD = 0x6666


@dataclass(frozen=True, slots=True)
class _Wiring:
    """GPIO numbers of the board's map and the part of `config.json` that goes with them; `sensor` is a bus."""

    board: str
    sensor: int
    button: int
    relay: int
    config: dict[str, Any]


_WIRINGS = {
    "esp32": _Wiring(
        "esp32-devkit",
        sensor=4,
        button=32,
        relay=25,
        config={"temperature": [{"channel": 0, "pin": "W1"}], "wifi": {"ssid": "andon-demo"}},
    ),
    "stm32": _Wiring(
        "nucleo-f429zi",
        sensor=25,
        button=45,
        relay=43,
        config={"sensors": [{"driver": "si7021", "channel": 0}], "link": {"kind": "lan"}},
    ),
}


class UnixBench:
    """The rung `unix`, with the peripherals of an ESP32 or of an STM32. `folder` keeps the flash between power cuts."""

    capabilities = ALL_UNIX
    host = "127.0.0.1"
    uart = 2

    def __init__(self, folder: Path, checkout: Checkout, chip: Literal["esp32", "stm32"] = "esp32") -> None:
        self.name = f"unix, {chip}"
        self._wiring = _WIRINGS[chip]
        folder.mkdir(parents=True, exist_ok=True)
        registers = folder / "registers"
        registers.unlink(missing_ok=True)
        self._registers = RegisterFile.create(registers)
        self._flash = folder / "flash.img"
        self._line = SerialLine(registers)
        self._cable = SerialCable(folder, CableFaults(), self.name)
        uarts = {self.uart: self._cable.node_port}
        files = BoardFiles(self._flash, registers, folder / "console.log", uarts=uarts)
        self.board = Board(self.name, files, checkout, line=self._line, blank=True, chip=chip)
        if chip == "esp32":
            self._registers.place_sensor(0, bus_pin=self._wiring.sensor, rom=rom_code(1), raw=0)
        else:
            self._registers.place_si7021(0, sda=self._wiring.sensor)
        self._set_temperature(_ROOM_CELSIUS)

    @property
    def port(self) -> str:
        """The console's port."""
        return self._line.port

    @property
    def wire(self) -> Path:
        """The data line's end at this machine."""
        return self._cable.gateway_port

    @property
    def template(self) -> dict[str, Any]:
        """The configuration to start from."""
        return {
            "board": self._wiring.board,
            "coap_port": 0,
            "cycles": [{"channel": 0, "pin": "IN1", "active": "high", "debounce_ms": 20}],
            "relays": [{"channel": 0, "pin": "RELAY1"}],
            **self._wiring.config,
        }

    async def __aenter__(self) -> Self:
        self._cable.open()
        try:
            await self.board.power_on()
            async with asyncio.timeout(_START_LIMIT_S):
                while not self._flash.is_file():  # noqa: ASYNC110  the board process announces nothing to this loop
                    await asyncio.sleep(_LOOK_S)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            await self.board.power_off()
        self._cable.close()
        self._registers.close()

    async def set_temperature(self, celsius: float) -> None:
        """Set what its sensor measures from now on."""
        self._set_temperature(celsius)

    async def press(self, times: int) -> None:
        """Pulses on the cycle input at 10 Hz."""
        for _ in range(times):
            for level in (1, 0):
                self._registers.publish_edges(self._wiring.button, [Edge(monotonic_us(), level)])
                await asyncio.sleep(_HALF_PERIOD_S)

    async def relay(self) -> bool:
        """Whether the output of relay 0 is energised."""
        return self._registers.driven(self._wiring.relay).level == 1

    async def power_cut(self) -> None:
        """Kill -9 of the board's process."""
        await self.board.power_cut()

    async def power_on(self) -> None:
        """Start it again on the same flash."""
        await self.board.power_on()

    def _set_temperature(self, celsius: float) -> None:
        if self._wiring.board == "esp32-devkit":
            self._registers.set_temperature(0, round(celsius * 16))
        else:
            # Si7021-A20, section 5.1.2.
            self._registers.set_si7021(
                0, temperature_word=round((celsius + 46.85) * 65536 / 175.72), humidity_word=_ROOM_HUMIDITY_WORD
            )
