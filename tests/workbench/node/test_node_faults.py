"""Cables pulled, ports that are none, boards that do not answer: nothing half-written is active, and one line says what to do."""

from __future__ import annotations

import hashlib
import os
import pty
import threading
import time
import tty
from typing import TYPE_CHECKING

import pytest
import serial

from andon_workbench.checkout import find_checkout
from andon_workbench.node.bundle import Bundle, build_bundle
from andon_workbench.node.deploy import deploy, hashes_in
from andon_workbench.node.errors import PortLostError
from andon_workbench.node.link import BoardLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from workbench.node.conftest import Bench

pytestmark = pytest.mark.timeout(400)

BOOT_LOOP = b"rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\nGuru Meditation Error: Core 0 panic'ed\r\n"


def put_on(port: str, bundle: Bundle, progress: Callable[[str, int], None] = lambda _path, _done: None) -> None:
    with BoardLink(port) as board:
        deploy(board, bundle, announce=lambda _plan: None, progress=progress)


def firmware_on(port: str, bundle: Bundle) -> dict[str, bytes]:
    with BoardLink(port) as board:
        return hashes_in(board, bundle.packages, ("boot.py", "main.py"))


def hashes(bundle: Bundle) -> dict[str, bytes]:
    return {path: hashlib.sha256(data).digest() for path, data in bundle.files.items()}


def test_cable_pulled_in_the_middle_of_a_deployment(own_bench: Bench) -> None:
    new = build_bundle(find_checkout().firmware, compiled=True)
    # The old firmware differs in every file, so that a mixture would show.
    old = Bundle(
        {path: data + b"\n#" if path.endswith(".py") else data[:-1] + b"\0" for path, data in new.files.items()}
    )
    put_on(own_bench.port, old)
    assert firmware_on(own_bench.port, old) == hashes(old)
    for cut in (1, new.size // 2, new.size - 1):
        copied: dict[str, int] = {}

        def pull(path: str, done: int, copied: dict[str, int] = copied, cut: int = cut) -> None:
            copied[path] = done
            if sum(copied.values()) >= cut:
                own_bench.unplug()

        with pytest.raises(PortLostError, match="nothing half-written is active"):
            put_on(own_bench.port, new, pull)
        own_bench.plug_in()
        assert firmware_on(own_bench.port, old) == hashes(old)
    put_on(own_bench.port, new)
    assert firmware_on(own_bench.port, new) == hashes(new)


def test_cable_pulled_while_the_configuration_is_written(
    own_bench: Bench, andon: Callable[..., tuple[int, str]]
) -> None:
    with BoardLink(own_bench.port) as board:
        board.write("config.json", b'{"old": 1}')
        own_bench.unplug()
        with pytest.raises(PortLostError):
            board.replace("config.json", b'{"new": 2}')
    own_bench.plug_in()
    assert andon("config", "get", "old", "--port", own_bench.port) == (0, "1\n")


@pytest.fixture
def dead_port() -> Iterator[tuple[str, int]]:
    """A pty with nobody behind it, raw like a serial port; the master for a test that wants to say something."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave), master
    os.close(slave)
    os.close(master)


def refused(answer: tuple[int, str], *words: str) -> None:
    code, text = answer
    assert code == 2
    assert len(text.strip().splitlines()) == 1
    for word in words:
        assert word in text


def test_board_that_never_answers(dead_port: tuple[str, int], andon: Callable[..., tuple[int, str]]) -> None:
    refused(andon("deploy", "--port", dead_port[0]), "nothing answers", "EN/RST", "andon node flash")


def test_board_in_a_boot_loop(dead_port: tuple[str, int], andon: Callable[..., tuple[int, str]]) -> None:
    port, master = dead_port
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.2):
            os.write(master, BOOT_LOOP)

    looping = threading.Thread(target=loop)
    looping.start()
    try:
        refused(andon("config", "get", "--port", port), "restarts over and over")
    finally:
        stop.set()
        looping.join()


@pytest.mark.parametrize("command", [("deploy",), ("logs", "--seconds", "1"), ("config", "get")])
def test_wrong_ports(command: tuple[str, ...], andon: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    refused(andon(*command, "--port", "/dev/ttyNO7"), "no such port")
    (tmp_path / "file").touch()
    refused(andon(*command, "--port", tmp_path / "file"), "not a serial port")
    refused(andon(*command, "--port", "/dev/null"), "cannot be opened")
    refused(andon(*command, "--port", "socket://127.0.0.1:1"), "no connection")


def test_doctor_reports_a_missing_port_as_its_finding(andon: Callable[..., tuple[int, str]]) -> None:
    code, text = andon("doctor", "--port", "/dev/ttyNO7")
    assert code == 1
    assert "no such port" in text


def test_port_in_use_by_another_program(own_bench: Bench, andon: Callable[..., tuple[int, str]]) -> None:
    with serial.Serial(own_bench.port, exclusive=True):
        refused(andon("config", "get", "--port", own_bench.port), "in use by another program")


def test_abandoned_board_goes_back_to_its_work(own_bench: Bench) -> None:
    """The watchdog that a session arms restarts a board whose tool died, here with a second instead of two minutes."""
    with BoardLink(own_bench.port, restart=False) as board:
        board.write("main.py", b'print("main runs")\n')
        board.run("_andon_watchdog = machine.WDT(timeout=1000)")
        before = own_bench.console.stat().st_size
        end = time.monotonic() + 10
        while b"main runs" not in own_bench.console.read_bytes()[before:]:
            assert time.monotonic() < end
            time.sleep(0.05)
