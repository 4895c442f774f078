"""Power-on: safe outputs before anything else, boot numbers that never repeat, errors that do not spin."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

import pytest
from firmware.aiocoap_gateway import free_udp_port
from firmware.emulated_board import board_config, wait_for
from firmware.micropython_vm import FIRMWARE, run_vm

if TYPE_CHECKING:
    from pathlib import Path

    from firmware.emulated_board import EmulatedBoard
    from firmware.register_file import RegisterFile


def boots(board: EmulatedBoard) -> list[int]:
    return [int(number) for number in re.findall(r"node: press-1 boot (\d+)", board.log())]


def test_relays_are_inactive_on_a_board_without_configuration(board: EmulatedBoard, registers: RegisterFile) -> None:
    board.start()
    wait_for(lambda: "recovery: config.json: not found" in board.log())
    assert registers.output(25)[:2] == (0, 2)
    assert registers.output(26)[:2] == (0, 2)
    assert board.exit_status() is None


@pytest.mark.parametrize("broken", ["", "{", '{"version": 2}', "[]", "\x00\xff"])
def test_safe_levels_hold_when_the_configuration_breaks(
    board: EmulatedBoard, registers: RegisterFile, broken: str
) -> None:
    """An active-low relay with safe state off: high is safe, and only outputs.txt can know it."""
    relays = [{"channel": 0, "pin": "RELAY2", "active": "low", "safe": False}]
    board.put_config(board_config(free_udp_port(), relays=relays))
    board.start()
    wait_for(lambda: boots(board))
    board.kill()
    # Whatever the pin was before the power came back.
    assert registers.output(26) == (1, 2, 1)
    board.put_config(broken)
    board.start()
    wait_for(lambda: "recovery: config.json: " in board.log())
    assert registers.output(26)[:2] == (1, 2)
    # It never was anything else.
    assert registers.output(26)[2] == 1
    assert board.exit_status() is None


def test_a_relay_that_was_on_is_off_after_a_power_cut(board: EmulatedBoard, registers: RegisterFile) -> None:
    """boot.py alone, on pins that another life left high."""
    board.start()
    wait_for(lambda: "recovery: config.json: not found" in board.log())
    board.kill()
    script = "import sys, registers; registers.attach(sys.argv[1]); registers.drive(25, 1, 1)"
    assert run_vm(script, str(registers.path), sim=True).returncode == 0
    assert registers.output(25)[0] == 1
    board.start()
    wait_for(lambda: registers.output(25)[0] == 0)


@pytest.mark.parametrize("torn", ["", "2", "25", "25 2\n", "x y\n", "25 0\n26", "99 0\n"])
def test_torn_outputs_file_falls_back_to_the_defaults(registers: RegisterFile, torn: str) -> None:
    script = """
import sys, registers
registers.attach(sys.argv[1])
import os
os.chdir(sys.argv[2])
execfile(sys.argv[3])
"""
    folder = registers.path.parent
    (folder / "outputs.txt").write_text(torn)
    result = run_vm(script, str(registers.path), str(folder), str(FIRMWARE / "boot.py"), sim=True)
    assert result.returncode == 0, result.stderr
    if torn not in {"", "99 0\n"}:
        assert registers.output(25)[:2] == (0, 2)
        assert registers.output(26)[:2] == (0, 2)


def start_counted(board: EmulatedBoard, registers: RegisterFile) -> None:
    before = registers.starts()
    board.start()
    wait_for(lambda: registers.starts() > before)


def wait_until_time(end: float) -> None:
    wait_for(lambda: time.monotonic() > end)


def run_to_its_number(board: EmulatedBoard) -> None:
    known = len(boots(board))
    board.start()
    wait_for(lambda: len(boots(board)) > known)
    board.kill()


def test_boot_number_grows_whenever_the_power_is_cut(board: EmulatedBoard, registers: RegisterFile) -> None:
    """Cuts before, while and after the number is written: no number is ever used twice."""
    board.put_config(board_config(free_udp_port()))
    dice = random.Random(3)
    for round_ in range(8):
        start_counted(board, registers)
        cut = time.monotonic() + dice.random() * 0.4
        wait_until_time(cut)
        board.kill()
        if round_ % 3 == 2:
            run_to_its_number(board)
        numbers = boots(board)
        assert numbers == sorted(set(numbers))
    assert len(boots(board)) >= 2


def test_a_board_that_has_run_keeps_its_own_files(board: EmulatedBoard, tmp_path: Path) -> None:
    """What the emulation gives a new board never comes between a flash and what was pushed to it."""
    board.put_config(board_config(free_udp_port()))
    run_to_its_number(board)
    (tmp_path / "config.json").write_text("{")
    run_to_its_number(board)
    assert "recovery" not in board.log()


def test_power_cut_in_the_very_first_start_costs_a_board_none_of_its_files(
    board: EmulatedBoard, tmp_path: Path
) -> None:
    board.put_config(board_config(free_udp_port()))
    dice = random.Random(5)
    for _ in range(6):
        for image in tmp_path.glob("flash.img*"):
            image.unlink()
        board.start()
        wait_until_time(time.monotonic() + dice.random() * 0.3)
        board.kill()
        run_to_its_number(board)
    assert "recovery" not in board.log()


def test_reset_ends_with_the_status_that_asks_for_a_restart(registers: RegisterFile) -> None:
    script = "import sys, registers; registers.attach(sys.argv[1]); import machine; machine.reset()"
    assert run_vm(script, str(registers.path), sim=True).returncode == 75


def test_starved_watchdog_bites(registers: RegisterFile) -> None:
    script = """
import sys, registers
registers.attach(sys.argv[1])
import machine, time
machine.WDT(timeout=50)
while True:
    time.sleep_ms(10)
"""
    assert run_vm(script, str(registers.path), sim=True).returncode == 75


def test_a_host_that_stands_still_does_not_make_the_watchdog_bite(registers: RegisterFile) -> None:
    """Without reading ticks, as in a process that the host stops; a firmware that reads them in vain is bitten all the same."""
    script = """
import sys, registers
registers.attach(sys.argv[1])
import machine, time, utime
machine.WDT(timeout=300)
utime.sleep_ms(900)
time.ticks_ms()
print("alive")
while True:
    time.sleep_ms(10)
"""
    done = run_vm(script, str(registers.path), sim=True)
    assert done.stdout.strip() == "alive"
    assert done.returncode == 75


def test_defaults_of_boot_py_are_the_boards_relay_pins() -> None:
    script = """
from andon_node import boards
for chip, name in (("ESP32S3", "esp32-s3"), ("ESP32C3", "esp32-c3"), ("", "esp32-devkit")):
    board = boards.load(name)
    print(repr((chip, tuple(board.PINS[relay] for relay in board.RELAYS))))
"""
    lines = run_vm(script).stdout.split("\n")
    source = (FIRMWARE / "boot.py").read_text()
    match = re.search(r"DEFAULT_RELAYS = \((.*)\)\n", source)
    assert match is not None
    assert match.group(1) == ", ".join(line.replace("'", '"') for line in lines if line)
