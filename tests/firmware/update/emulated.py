"""One emulated board as a process, restarted like a board, watched over like by its watchdog chip."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import struct
import time
from typing import TYPE_CHECKING, Any, Self

from firmware.update.vm import FIRMWARE, SITE_KEY, SITE_KEY_HEX

from andon_workbench.board import HEAPS, Vm, find_micropython
from andon_workbench.bundle.build import compile_package
from andon_workbench.bundle.format import Bundle
from andon_workbench.bundle.keys import sign
from andon_workbench.emulated_parts import emulated_parts, install
from andon_workbench.registers import RegisterFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

RESET = 75
WATCHDOG_AT = 16  # docs/emulation.md: deadline of the watchdog in the register file
WATCHDOG_RESET = 3
RELAY_PIN = 25

# Times short enough for a test, and long enough for a busy machine: a trial must be seen before it is settled, a board that is
# waiting for the CPU is not stuck.
QUICK = {
    "andon_node/update/guard.py": [(r"SETTLE_MS = \d+", "SETTLE_MS = 3000"), (r"LIMIT_MS = \d+", "LIMIT_MS = 12000")],
    "andon_node/supervisor.py": [(r"_MAX_PAUSE_MS = const\(\d+\)", "_MAX_PAUSE_MS = const(600)")],
    "andon_node/watchdog.py": [(r"BITE_MS = \d+", "BITE_MS = 3000")],
    "andon_node/node.py": [(r"_STUCK_MS = const\(\d+\)", "_STUCK_MS = const(3000)")],
    "andon_base/start.py": [
        (r"_WATCHDOG_MS = const\(\d+\)", "_WATCHDOG_MS = const(5000)"),
        (r"_CRASH_PAUSE_S = const\(\d+\)", "_CRASH_PAUSE_S = const(0)"),
    ],
}
Changes = "Mapping[str, list[tuple[str, str]]]"


def sources(folder: Path, changes: Mapping[str, list[tuple[str, str]]]) -> Path:
    """The firmware's sources with quick times and some more changes, each a pattern and what takes its place."""
    for package in ("andon_node", "andon_base"):
        shutil.copytree(FIRMWARE / package, folder / package)
    for table in (QUICK, changes):
        for name, edits in table.items():
            path = folder / name
            text = path.read_text()
            for pattern, replacement in edits:
                text, count = re.subn(pattern, replacement, text, count=1)
                assert count, f"{name}: no {pattern}"
            path.write_text(text)
    return folder


def compiled(folder: Path, out: Path) -> Path:
    """What goes onto a blank board: the base and the application of version 1.0.0, compiled."""
    for name in ("boot.py", "main.py"):
        shutil.copy(FIRMWARE / name, folder / name)
    install(folder, out, "1.0.0")
    return out


# What a node without keys and sensors never loads.
NOT_NEEDED = re.compile(r"andon_node/(oscore/|drivers/(modbus|sht|ntc|max|loop|analog|digital|s0))")


def app(
    folder: Path, version: str, changes: Mapping[str, list[tuple[str, str]]] | None = None, *, whole: bool = False
) -> bytes:
    """A signed bundle of the real application with some changes; unless it is `whole`, of what runs here."""
    source = sources(folder / f"app-{version}", changes or {})
    files = compile_package(source, version)
    kept = {name: content for name, content in files.items() if whole or not NOT_NEEDED.match(name)}
    return sign(Bundle(version, kept), SITE_KEY).encode()


class EmulatedBoard:
    """The board; an async context manager.

    Attributes:
        resets: How often it restarted itself.
        bites: How often the watchdog had to kill a board that hung.
    """

    def __init__(
        self,
        folder: Path,
        firmware: Path,
        gateway_port: int,
        coap_port: int,
        *,
        vm: Vm = Vm.BITS_64,
        heap: str | None = None,
    ) -> None:
        self.folder = folder
        self.port = coap_port
        self.resets = 0
        self.bites = 0
        self.console = folder / "console.log"
        self._vm = vm
        self._heap = heap or HEAPS[vm]["esp32"]
        self._firmware = firmware
        self._hardware = ("--hardware", str(emulated_parts(FIRMWARE).hardware))
        self.registers = RegisterFile.create(folder / "registers")
        self.registers.set_wifi(reachable=True)
        self._process: asyncio.subprocess.Process | None = None
        config = {
            "version": 1,
            "node": "press-1",
            "board": "esp32-devkit",
            "wifi": {"ssid": "andon", "password": ""},
            "gateway": {"host": "127.0.0.1", "port": gateway_port},
            "coap_port": coap_port,
            "sample_ms": 500,
            "relays": [{"channel": 0, "pin": "RELAY1", "safe": False}],
        }
        (folder / "config.json").write_text(json.dumps(config))
        self._replaced: Path | None = None
        (folder / "site_key.hex").write_text(SITE_KEY_HEX)

    async def __aenter__(self) -> Self:
        self._log = self.console.open("ab")
        await self.power_on()
        self._supervision = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervision.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._supervision
        await self.power_cut()
        self.registers.close()
        self._log.close()

    def replace_config(self, text: str) -> None:
        """What takes the place of the board's config.json at its next start, behind its back."""
        self._replaced = self.folder / "replaced.json"
        self._replaced.write_text(text)

    async def power_on(self) -> None:
        """Start the process."""
        replaced, self._replaced = self._replaced, None
        self._process = await asyncio.create_subprocess_exec(
            str(find_micropython(self._vm)),
            "-X",
            f"heapsize={self._heap}",
            str(FIRMWARE / "sim/board.py"),
            "--flash",
            str(self.folder / "flash.img"),
            "--registers",
            str(self.folder / "registers"),
            "--firmware",
            str(self._firmware),
            *self._hardware,
            *(word for name in ("config.json", "site_key.hex") for word in ("--put", f"{self.folder / name}:/{name}")),
            *(() if replaced is None else ("--replace", f"{replaced}:/config.json")),
            stdout=self._log,
            stderr=self._log,
        )

    async def power_cut(self) -> None:
        """Kill the process."""
        process = self._process
        self._process = None
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()

    def _deadline_us(self) -> int:
        with (self.folder / "registers").open("rb") as file:
            file.seek(WATCHDOG_AT)
            return int(struct.unpack("<Q", file.read(8))[0])

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            process = self._process
            if process is None:
                continue
            deadline = self._deadline_us()
            if process.returncode is None and deadline and time.monotonic_ns() // 1000 > deadline + 500_000:
                (self.folder / "flash.img.reset").write_text(f"{WATCHDOG_RESET} 0")
                process.send_signal(signal.SIGKILL)
                await process.wait()
                self.bites += 1
                await self.power_on()
            elif process.returncode is not None:
                assert process.returncode == RESET, f"the board ended with {process.returncode}: {self.tail()}"
                self.resets += 1
                await self.power_on()

    def tail(self) -> str:
        """The end of the console."""
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-40:])

    def relay_level(self) -> int:
        """What drives the relay."""
        return self.registers.driven(RELAY_PIN).level


async def until(condition: Callable[[], Any], limit_s: float, board: EmulatedBoard) -> Any:
    """Wait for a condition, which may be a coroutine function; returns its value.

    Raises:
        AssertionError: not within the limit; the console says more.
    """
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"not within {limit_s} s:\n{board.tail()}"
        await asyncio.sleep(0.05)
