"""One emulated board as a process, and the waiting that tests need around it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

from firmware.micropython_vm import FIRMWARE, MICROPYTHON, SIM

from andon_workbench.board import HEAPS, Vm
from andon_workbench.emulated_parts import emulated_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware.register_file import RegisterFile


def wait_for(condition: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """Wait until the condition holds and return its value."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)


async def wait_until(condition: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """The same inside an event loop."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.005)


def board_config(gateway_port: int, **changes: Any) -> dict[str, Any]:
    """A configuration with one thermometer, one counter and one relay."""
    return {
        "version": 1,
        "node": "press-1",
        "wifi": {"ssid": "hall", "password": "secret"},
        "gateway": {"host": "127.0.0.1", "port": gateway_port},
        "coap_port": 0,
        "temperature": [{"channel": 0, "pin": "W1"}],
        "cycles": [{"channel": 0, "pin": "IN1", "mode": "contact", "active": "high", "debounce_ms": 20}],
        "relays": [{"channel": 0, "pin": "RELAY1"}],
        **changes,
    }


class EmulatedBoard:
    """Starts, kills and starts again; the flash image stays."""

    def __init__(self, folder: Path, registers: RegisterFile, chip: str = "esp32") -> None:
        self._chip = chip
        self._folder = folder
        self._registers = registers
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "config.json"
        self._config_by = "--put"
        self.console = folder / "console.txt"

    def put_config(self, config: dict[str, Any] | str) -> None:
        """Set the config.json that the board begins with, or, once it has run, what takes its place at the next start."""
        self._config.write_text(config if isinstance(config, str) else json.dumps(config))
        self._config_by = "--replace" if (self._folder / "flash.img").exists() else "--put"

    def start(self) -> None:
        """Power up."""
        put = [self._config_by, f"{self._config}:config.json"] if self._config.exists() else []
        self._config_by = "--put"
        parts = emulated_parts(FIRMWARE)
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                [
                    str(MICROPYTHON),
                    "-X",
                    f"heapsize={HEAPS[Vm.BITS_64][self._chip]}",
                    str(SIM / "board.py"),
                    "--flash",
                    str(self._folder / "flash.img"),
                    "--registers",
                    str(self._registers.path),
                    "--firmware",
                    str(parts.firmware),
                    "--hardware",
                    str(parts.hardware),
                    "--chip",
                    self._chip,
                    *put,
                ],
                stdout=console,
                stderr=console,
                cwd=self._folder,
            )

    def kill(self) -> None:
        """Cut the power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def exit_status(self) -> int | None:
        """Exit status, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def log(self) -> str:
        """Everything the console showed so far."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""
