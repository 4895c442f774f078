"""One board under Renode: started, steered through the robot port, ended."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from andon_workbench.node.errors import NodeError
from andon_workbench.node.link import BoardLink
from andon_workbench.ports import free_tcp_port
from andon_workbench.processes import die_with_parent
from andon_workbench.rungs.renode.errors import RenodeError
from andon_workbench.rungs.renode.robot import RobotPort

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from andon_workbench.rungs.renode.network import HostNetwork, NamespaceNetwork
    from andon_workbench.rungs.renode.parts import RenodeProgram

RELAYS: Final = 2
_START_LIMIT_S: Final = 120.0
_STOP_LIMIT_S: Final = 10.0
_LOOK_S: Final = 0.2
_PASS_LIMIT_S: Final = 60.0
# How often the prompt is asked for while MicroPython starts: each try listens for 0.4 s.
_PROMPT_TRIES: Final = 150
# Edges that come in one quantum of virtual time (1 ms) are one; 10 Hz is exact (docs/boards.md).
_HALF_PERIOD_S: Final = 0.05
_VIRTUAL_TIME: Final = re.compile(r"virtual time: (\d+):(\d+):(\d+\.\d+)")
_SENSOR: Final = "sysbus.i2c1.si7021"
_BUTTON: Final = "sysbus.gpioPortC.button"
_RELAY: Final = "sysbus.gpioPortC.relay{}"
_RAM: Final = "0x20000000 0x30000"
# A seed is a signed number of 32 bits.
_SEEDS: Final = 1 << 31


class RenodeMachine:
    """A NUCLEO-F429ZI. `start` it, then steer it; not for several threads at once. `stop` ends everything.

    Args:
        program: How Renode is started.
        scripts: The folder renode/ of the checkout.
        folder: For Renode's log, its ptys and snapshots; its path must have no blanks, which Renode's monitor splits.
        image: MicroPython's .hex file.
        network: Where it runs.
        sleep: Lets host time pass, which is virtual time as well.
    """

    def __init__(
        self,
        program: RenodeProgram,
        scripts: Path,
        folder: Path,
        image: Path,
        network: HostNetwork | NamespaceNetwork,
        *,
        fast_flash: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        for path in (scripts, folder, image):
            if any(character.isspace() for character in str(path)):
                raise RenodeError(f"{path}: Renode takes no path with blanks; use another folder")
        self.folder = folder
        self.port = ""
        self.log = folder / "renode.log"
        self.wire = folder / "wire"
        self.in_container = program.container
        self._program = program
        self._scripts = scripts
        self._image = image
        self._network = network
        self._platform = scripts / ("andon_node_fast.repl" if fast_flash else "andon_node.repl")
        self._sleep = sleep
        self._celsius = 21.5
        self._process: subprocess.Popen[bytes] | None = None
        self._robot: RobotPort | None = None

    def start(self) -> str | None:
        """Start Renode and the board; return what the person should know about open ports.

        Raises:
            RenodeError: Renode ends or does not answer within two minutes, or refuses the description.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        robot, console, wire = (free_tcp_port() for _ in range(3))
        words = [*self._network.prefix(), *self._program.words]
        words += ["--disable-xwt", "--plain", "--port", "-1", "--robot-server-port", str(robot)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one call of the kernel; a board left over burns a core for ever
            )
        self._robot = RobotPort(robot, self._network.connect)
        try:
            self._wait_for_robot_port()
            self._describe(console, wire)
            self.reseed()
            self.resume()
        except BaseException:
            self.stop()
            raise
        return self._network.note([robot, console, wire] if self._program.container else [robot])

    def wait_for_repl(self) -> None:
        """Wait until MicroPython's prompt answers on the console.

        Raises:
            RenodeError: it does not within a minute.
        """
        try:
            with BoardLink(self.port, attempts=_PROMPT_TRIES, restart=False):
                pass
        except NodeError as error:
            raise RenodeError(f"no prompt from the emulated board: {error}; Renode's log: {self.log}") from error

    @property
    def pid(self) -> int | None:
        """Renode's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def version(self) -> str:
        """What Renode calls itself; where it does not, the program that it is (as with a private build)."""
        return " ".join(self.command("version").split()) or f"{self._program.words[0]}, which tells no version"

    def reseed(self) -> None:
        """Let the chip's random numbers begin somewhere else.

        Renode's generator begins anew with every start of the machine, a soft reset too: without this each start draws the same
        message ids and tokens, and a peer takes its requests for those of the start before. Still nothing to make keys with.
        """
        self.command(f"emulation SetSeed {secrets.randbelow(_SEEDS)}")

    def set_temperature(self, celsius: float) -> None:
        """Set what the Si7021 measures, -40 to 85 degC; stays over resets."""
        self._celsius = celsius
        self.command(f"$celsius={celsius:.3f}")
        self.command(f"{_SENSOR} Temperature {celsius:.3f}")

    def press(self, times: int) -> None:
        """Press the button so many times, at 10 Hz of the board's time.

        Raises:
            RenodeError: virtual time stands still.
        """
        for _ in range(times):
            self.command(f"{_BUTTON} Press")
            self._let_pass(_HALF_PERIOD_S)
            self.command(f"{_BUTTON} Release")
            self._let_pass(_HALF_PERIOD_S)

    def virtual_s(self) -> float:
        """Seconds that have passed for the board."""
        answer = self.command("currentTime")
        found = _VIRTUAL_TIME.search(answer)
        if found is None:
            raise RenodeError(f"currentTime: expected hours, minutes and seconds, Renode said {answer!r}")
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])

    def relay(self, number: int) -> bool:
        """Whether relay 1 or 2 is energised."""
        if not 1 <= number <= RELAYS:
            raise RenodeError(f"relay {number}: expected 1 to {RELAYS}")
        answer = self.command(f"{_RELAY.format(number)} State")
        if answer not in {"True", "False"}:
            raise RenodeError(f"relay {number}: expected True or False, Renode said {answer!r}")
        return answer == "True"

    def pause(self) -> None:
        """Stop virtual time."""
        self.command("pause")

    def resume(self) -> None:
        """Let virtual time go on."""
        self.command("start")

    def reset(self) -> None:
        """Press the reset button."""
        self.command("machine Reset")

    def power_cut(self) -> None:
        """Take the power at this very instruction; `power_on` brings the board back with empty memory and its flash."""
        self.pause()

    def power_on(self) -> None:
        """Give the power back."""
        self.command(f"sysbus ZeroRange {_RAM}")
        self.reseed()
        self.reset()
        self.resume()

    def save(self, path: Path) -> None:
        """Save the whole machine's state, flash included."""
        self.command(f"Save @{path}")

    def load(self, path: Path) -> None:
        """Go back to a saved state; the machine is paused.

        With ptys it has no console any more: the machine of before takes their names away (docs/boards.md).
        """
        self.command(f"Load @{path}")
        self.command("mach set 0")

    def command(self, text: str) -> str:
        """Run a Monitor command.

        Raises:
            RenodeError: it failed, or Renode does not run.
        """
        if self._robot is None:
            raise RenodeError("Renode has not been started")
        return self._robot.command(text)

    def stop(self) -> None:
        """End Renode, whatever it does."""
        process, self._process, self._robot = self._process, None, None
        if process is None:
            return
        # The whole group: a container's client and an interpreter in between go with it.
        for number, limit_s in ((signal.SIGTERM, _STOP_LIMIT_S), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(limit_s)
                return

    def _let_pass(self, seconds: float) -> None:
        """Let virtual time pass. On a busy host it is slower than the host's: its clock would bring edges too close."""
        end = self.virtual_s() + seconds
        limit = time.monotonic() + _PASS_LIMIT_S
        while self.virtual_s() < end:
            if time.monotonic() >= limit:
                raise RenodeError(f"virtual time stands still: no {seconds:g} s in {_PASS_LIMIT_S:g} s; paused?")
            self._sleep(seconds / 5)

    def _wait_for_robot_port(self) -> None:
        end = time.monotonic() + _START_LIMIT_S
        while True:
            if self._process is None or self._process.poll() is not None:
                raise RenodeError(f"Renode ended before it was ready: {self._log_end()}")
            try:
                self.command("version")
            except RenodeError as error:
                if time.monotonic() >= end:
                    raise RenodeError(f"Renode did not become ready in {_START_LIMIT_S:g} s: {error}") from error
                time.sleep(_LOOK_S)
            else:
                return

    def _describe(self, console: int, wire: int) -> None:
        if self._program.container:
            self.port = f"socket://127.0.0.1:{console}"
            settings = {"console": str(console), "wire": str(wire), "terminals": self._script("terminals_socket.resc")}
        else:
            self.port = str(self.folder / "console")
            settings = {
                "console": f"@{self.port}",
                "wire": f"@{self.wire}",
                "terminals": self._script("terminals_pty.resc"),
            }
        if self._network.wire is None:
            settings["network"] = self._script("network_none.resc")
        else:
            settings["tap"] = f'"{self._network.wire.tap}"'
            settings["network"] = self._script("network_tap.resc")
        settings |= {
            "image": f"@{self._image}",
            "platform": f"@{self._platform}",
            # Never the same MAC address for two boards on a wire, over processes too.
            "serial": f"0x{os.getpid() & 0xFFFFFF:08X}",
            "celsius": f"{self._celsius:.3f}",
        }
        for name, value in settings.items():
            self.command(f"${name}={value}")
        self.command(f"include {self._script('andon_node.resc')}")

    def _script(self, name: str) -> str:
        return f"@{self._scripts / name}"

    def _log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-3:]
        return " | ".join(line.strip() for line in lines) or f"no word in {self.log}"
