"""A test jig around an emulated board: the board on its pty, relays and inputs through the register file, a gateway to be reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from andon_workbench.board import Board, BoardFiles
from andon_workbench.checkout import find_checkout
from andon_workbench.node.bundle import build_bundle
from andon_workbench.node.deploy import deploy
from andon_workbench.node.link import BoardLink
from andon_workbench.registers import Edge, RegisterFile, rom_code
from andon_workbench.serial_line import SerialLine
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

ANDON = Path(sys.executable).with_name("andon")
# W1, IN1 to IN4, RELAY1 and RELAY2 of esp32-devkit (firmware/andon_node/boards).
BUS, CYCLES, CONTACT, INPUT, COIL, COIL_2 = 4, 32, 33, 34, 25, 26
AMBIENT_RAW, WARM_RAW = 21 * 16, 25 * 16
_STEP_S = 0.003


class StandInGateway(asyncio.DatagramProtocol):
    """Answers a CoAP ping and `GET /time` (RFC 7252), as a gateway does; the real one is used in tests/e2e."""

    def __init__(self) -> None:
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        assert self.transport is not None
        if data[:2] == b"\x40\x00":
            self.transport.sendto(b"\x70\x00" + data[2:4], address)
        elif data[:2] == b"\x40\x01" and data[4:] == b"\xb4time":
            body = str(int(time.time() * 1000)).encode()
            self.transport.sendto(b"\x60\x45" + data[2:4] + b"\xff" + body, address)


class Jig:
    """The board with power, wired: relay 0 with a contact that is read back, relay 1 without, an input, a thermometer, a counter."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.registers = RegisterFile.create(folder / "registers")
        self.registers.place_sensor(0, bus_pin=BUS, rom=rom_code(7), raw=AMBIENT_RAW)
        self.registers.set_input(CYCLES, 1)
        self.line = SerialLine(folder / "registers")
        files = BoardFiles(folder / "flash.img", folder / "registers", folder / "console.log")
        self.board = Board("accepted", files, find_checkout(), line=self.line, blank=True)
        self.contact_follows = True
        self.gateway_port = 0
        self._gateway: asyncio.BaseTransport | None = None
        self._wires: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._gateway, _ = await loop.create_datagram_endpoint(StandInGateway, local_addr=("127.0.0.1", 0))
        self.gateway_port = self._gateway.get_extra_info("sockname")[1]
        self._wires = asyncio.create_task(self._wire())
        await self.board.power_on()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.board.power_off()
        if self._wires is not None:
            self._wires.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._wires
        if self._gateway is not None:
            self._gateway.close()
        self.registers.close()

    async def _wire(self) -> None:
        while True:
            driven = self.registers.driven(COIL).level if self.contact_follows else 0
            self.registers.set_input(CONTACT, driven)
            await asyncio.sleep(_STEP_S)

    async def equip(self, **changes: object) -> None:
        """Firmware, configuration and keys onto the board."""
        document = {
            "version": 1,
            "node": "press-7",
            "board": "esp32-devkit",
            "wifi": {"ssid": "hall", "password": "geheim-7"},
            "gateway": {"host": "127.0.0.1", "port": self.gateway_port},
            "coap_port": 0,
            "temperature": [{"channel": 0, "pin": "W1"}],
            "cycles": [{"channel": 0, "pin": "IN1", "mode": "contact", "debounce_ms": 20}],
            "relays": [
                {"channel": 0, "pin": "RELAY1", "contact_pin": "IN2"},
                {"channel": 1, "pin": "RELAY2", "active": "low"},
            ],
            "sensors": [{"driver": "input", "channel": 0, "pin": "IN3", "active": "high"}],
            **changes,
        }
        keys = {"secret": "00" * 16, "salt": "11" * 8, "sender_id": "01", "recipient_id": "00"}

        def put() -> None:
            with BoardLink(self.line.port) as board:
                deploy(
                    board,
                    build_bundle(find_checkout().firmware, compiled=True),
                    announce=lambda _plan: None,
                    progress=lambda _path, _done: None,
                )
                board.write("config.json", json.dumps(document).encode())
                board.write("keys.json", json.dumps(keys).encode())

        await asyncio.to_thread(put)

    def give_pulses(self, count: int) -> None:
        """Contacts of 30 ms to ground, each with a bounce, with 100 ms between them, ending now."""
        at = monotonic_us() - count * 130_000
        edges = []
        for _ in range(count):
            edges += [Edge(at + offset, level) for offset, level in ((0, 0), (300, 1), (600, 0), (30_000, 1))]
            at += 130_000
        self.registers.publish_edges(CYCLES, edges)

    def do(self, line: str, *, pulses: int = 5, warm_raw: int = WARM_RAW) -> None:
        """Do what the command asks for."""
        if line.startswith("do: cycles/0"):
            self.give_pulses(pulses)
        elif line.startswith("do: temperature/0"):
            self.registers.set_temperature(0, warm_raw)
        elif line.startswith("do: input/0: make the input active"):
            self.registers.set_input(INPUT, 1)
        elif line.startswith("do: input/0"):
            self.registers.set_input(INPUT, 0)

    async def start(self, *words: str | Path) -> asyncio.subprocess.Process:
        """Start `andon node accept` as a program of its own."""
        return await asyncio.create_subprocess_exec(
            *map(str, (ANDON, "node", "accept", "--port", self.line.port, *words)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def accept(self, *words: str | Path, pulses: int = 5, warm_raw: int = WARM_RAW) -> tuple[int, list[str]]:
        """Run the command to its end, doing what it asks for; give exit status and lines."""
        process = await self.start(*words)
        assert process.stdout is not None
        lines = []
        while line := (await process.stdout.readline()).decode().rstrip():
            lines.append(line)
            self.do(line, pulses=pulses, warm_raw=warm_raw)
        return await process.wait(), lines
