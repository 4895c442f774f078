"""The controller of the Renode rung against a stand-in of Renode's robot port (stand_in_renode.py)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from parts import require_part
from renode.stand_in_renode import PROPERTIES, TICK_MS, StandInRenode

from andon_workbench.rungs.renode.errors import RenodeError
from andon_workbench.rungs.renode.machine import RenodeMachine
from andon_workbench.rungs.renode.network import HostNetwork, NamespaceNetwork
from andon_workbench.rungs.renode.parts import RenodeProgram
from andon_workbench.rungs.renode.robot import RobotPort

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "renode"
STAND_IN = Path(__file__).with_name("stand_in_renode.py")


def connect(host: str, port: int, limit_s: float) -> socket.socket:
    return socket.create_connection((host, port), limit_s)


@pytest.fixture
def renode() -> Iterator[StandInRenode]:
    with StandInRenode() as server:
        yield server


@pytest.fixture
def machine(tmp_path: Path, renode: StandInRenode) -> RenodeMachine:
    """One that talks to the stand-in of this process; host time does not pass."""
    made = RenodeMachine(
        RenodeProgram(("renode",)),
        SCRIPTS,
        tmp_path,
        tmp_path / "image.hex",
        HostNetwork(),
        sleep=lambda _seconds: None,
    )
    made._robot = RobotPort(renode.port, connect)
    return made


def test_steering_is_said_in_the_monitors_words(machine: RenodeMachine, renode: StandInRenode, tmp_path: Path) -> None:
    machine.set_temperature(-9.75)
    machine.press(2)
    assert machine.relay(1)
    assert not machine.relay(2)
    machine.power_cut()
    machine.power_on()
    machine.save(tmp_path / "state")
    machine.load(tmp_path / "state")
    # The seed is another one each time.
    asked = [
        "emulation SetSeed" if command.startswith("emulation SetSeed ") else command
        for command in renode.commands
        if command != "currentTime"
    ]
    assert asked == [
        "$celsius=-9.750",
        "sysbus.i2c1.si7021 Temperature -9.750",
        *["sysbus.gpioPortC.button Press", "sysbus.gpioPortC.button Release"] * 2,
        "sysbus.gpioPortC.relay1 State",
        "sysbus.gpioPortC.relay2 State",
        "pause",
        "sysbus ZeroRange 0x20000000 0x30000",
        "emulation SetSeed",
        "machine Reset",
        "start",
        f"Save @{tmp_path / 'state'}",
        f"Load @{tmp_path / 'state'}",
        "mach set 0",
    ]


def test_presses_are_50_ms_of_the_boards_time_apart(
    machine: RenodeMachine, renode: StandInRenode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy host gives the board less time than it has itself; edges that come too close are none."""
    machine.press(2)
    edges = [index for index, command in enumerate(renode.commands) if "button" in command]
    assert len(edges) == 4
    looks = [after - before - 1 for before, after in pairwise([*edges, len(renode.commands)])]
    assert all(count * TICK_MS >= 50 for count in looks)
    monkeypatch.setattr("renode.stand_in_renode.TICK_MS", 0)
    monkeypatch.setattr("andon_workbench.rungs.renode.machine._PASS_LIMIT_S", 0.2)
    with pytest.raises(RenodeError, match="virtual time stands still"):
        machine.press(1)


def test_every_name_it_speaks_of_is_in_the_platform_description(
    machine: RenodeMachine, renode: StandInRenode, tmp_path: Path
) -> None:
    """The stand-in cannot know peripherals; the description that Renode reads can."""
    description = (SCRIPTS / "andon_node.repl").read_text()
    machine.set_temperature(20)
    machine.press(1)
    machine.relay(1)
    machine.save(tmp_path)
    spoken = [command.split()[0] for command in renode.commands if command.startswith("sysbus.")]
    assert len(spoken) == 4
    for name in spoken:
        _, parent, peripheral = name.split(".")
        assert f"\n{peripheral}: " in description
        assert f" @ {parent} " in description


def test_scripts_ask_for_no_variable_that_nobody_sets(machine: RenodeMachine, renode: StandInRenode) -> None:
    machine._describe(1, 2)
    given = {command[1:].split("=")[0] for command in renode.commands if command.startswith("$")}
    for name in ("andon_node.resc", "terminals_pty.resc", "network_none.resc", "terminals_socket.resc"):
        text = (SCRIPTS / name).read_text()
        code = "\n".join(line for line in text.splitlines() if not line.startswith(("#", ":")))
        words = {word.lstrip("$").split("?")[0] for word in code.split() if word.startswith("$")}
        # `reset` is the macro's own name.
        assert words - {"reset", "name", "humidity"} <= given, name
    for command in renode.commands:
        if "=@" in command and command.endswith((".resc", ".repl")):
            assert Path(command.split("=@")[1]).is_file(), command


def test_what_renode_refuses_is_one_line(
    machine: RenodeMachine, renode: StandInRenode, monkeypatch: pytest.MonkeyPatch
) -> None:
    renode.refuse = "Press"
    with pytest.raises(RenodeError, match="button Press: KeywordException: There was an error: sysbus"):
        machine.press(1)
    with pytest.raises(RenodeError, match='Keyword "Dance" not found'):
        RobotPort(renode.port, connect).keyword("Dance")
    monkeypatch.setitem(PROPERTIES, "sysbus.gpioPortC.relay2 State", "perhaps")
    with pytest.raises(RenodeError, match="relay 2: expected True or False, Renode said 'perhaps'"):
        machine.relay(2)
    with pytest.raises(RenodeError, match="relay 3: expected 1 to 2"):
        machine.relay(3)


def test_renode_that_tells_no_version_is_named_by_its_program(
    machine: RenodeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build of one's own answers `version` with nothing."""
    monkeypatch.setitem(PROPERTIES, "version", "")
    assert machine.version() == "renode, which tells no version"


def test_every_start_of_the_board_draws_other_random_numbers(machine: RenodeMachine, renode: StandInRenode) -> None:
    for _ in range(3):
        machine.power_cut()
        machine.power_on()
    seeds = [command for command in renode.commands if command.startswith("emulation SetSeed ")]
    assert len(seeds) == len(set(seeds)) == 3
    assert all(0 <= int(seed.rsplit(" ", 1)[1]) < 1 << 31 for seed in seeds)


def test_silence_and_a_dead_port_are_named(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(RenodeError, match=f"does not answer on its robot port {port}"):
            RobotPort(port, connect, limit_s=0.1).command("version")
    with pytest.raises(RenodeError, match="does not answer"):
        RobotPort(port, connect).command("version")
    with pytest.raises(RenodeError, match="takes no path with blanks"):
        RenodeMachine(RenodeProgram(("renode",)), SCRIPTS, tmp_path / "a b", tmp_path, HostNetwork())


def program(tmp_path: Path) -> RenodeProgram:
    runner = tmp_path / "renode"
    runner.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    runner.chmod(0o700)
    return RenodeProgram((str(runner),))


def test_started_described_and_ended_with_everything_it_started(tmp_path: Path) -> None:
    with HostNetwork() as network:
        machine = RenodeMachine(program(tmp_path), SCRIPTS, tmp_path, tmp_path / "image.hex", network)
        note = machine.start()
        pid = machine.pid
        try:
            assert "close its ports to others" in str(note)
            assert machine.version() == "Renode, version 1.15.1.0 (stand-in)"
            assert machine.port == str(tmp_path / "console")
        finally:
            machine.stop()
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()
    assert machine.pid is None


LEAVES_IT_BEHIND = """
import sys, time
from pathlib import Path
from andon_workbench.rungs.renode.machine import RenodeMachine
from andon_workbench.rungs.renode.network import HostNetwork
from andon_workbench.rungs.renode.parts import RenodeProgram
program, scripts, folder = sys.argv[1:]
machine = RenodeMachine(RenodeProgram((program,)), Path(scripts), Path(folder), Path(folder) / "image.hex", HostNetwork())
machine.start()
print(machine.pid, flush=True)
time.sleep(600)
"""


def test_renode_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    """A run that is killed cannot end it; left over, it takes a core for ever."""
    (runner,) = program(tmp_path).words
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES_IT_BEHIND, runner, SCRIPTS, tmp_path], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        starter.kill()
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < end, "Renode is left over"
        time.sleep(0.05)


def test_renode_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_ENDS", "1")
    machine = RenodeMachine(program(tmp_path), SCRIPTS, tmp_path, tmp_path / "image.hex", HostNetwork())
    with pytest.raises(RenodeError, match="ended before it was ready: cannot open the display"):
        machine.start()


def test_in_a_namespace_nobody_outside_reaches_its_ports(tmp_path: Path) -> None:
    can = NamespaceNetwork.possible() and Path("/dev/net/tun").exists()
    require_part("netns", found=can, how="run as root with iproute2 and /dev/net/tun")
    with NamespaceNetwork(os.getpid() % 250) as network:
        assert network.wire is not None
        machine = RenodeMachine(program(tmp_path), SCRIPTS, tmp_path, tmp_path / "image.hex", network)
        assert machine.start() is None
        try:
            assert machine._robot is not None
            port = machine._robot.port
            assert machine.version().startswith("Renode")
            with pytest.raises(OSError, match=r"refused|unreachable"):
                socket.create_connection(("127.0.0.1", port), 5)
            # The wire is there: this machine has its address on it.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
                gateway.bind((network.wire.host, 0))
        finally:
            machine.stop()
    listed = os.popen("ip netns list").read() if shutil.which("ip") else ""  # noqa: S605 - fixed words
    assert f"andon-{os.getpid() % 250}" not in listed
