from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from andon_workbench.board import Board, BoardFiles, Vm, find_micropython
from andon_workbench.checkout import Checkout, find_checkout
from andon_workbench.errors import CheckoutNotFoundError, MissingPartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Until = Callable[[Callable[[], bool]], Awaitable[None]]

# A stand-in for firmware/sim/board.py on the real MicroPython VM: it does what its first --put file says.
STAND_IN = """
import os, sys, time
arguments = sys.argv
print("start", " ".join(arguments[1:]))
orders = arguments[arguments.index("--put") + 1].rsplit(":", 1)[0]
with open(orders) as file:
    order = file.read()
if order == "reset":
    with open(orders, "w") as file:
        file.write("run")
    sys.exit(75)
if order == "crash":
    with open(orders, "w") as file:
        file.write("run")
    raise ValueError("broken")
time.sleep(60)
"""


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[Board]:
    stand_in = tmp_path / "firmware/sim/board.py"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(STAND_IN)
    orders = tmp_path / "orders"
    orders.write_text("run")
    files = BoardFiles(
        tmp_path / "flash.img", tmp_path / "registers", tmp_path / "console.log", {"/config.json": orders}
    )
    board = Board("press-1", files, Checkout(tmp_path))
    yield board
    await board.power_off()


def starts(board: Board) -> int:
    return board.files.console.read_text().count("start ") if board.files.console.exists() else 0


async def test_command_line_is_the_documented_one(board: Board, until: Until) -> None:
    await board.power_on()
    await until(lambda: starts(board) == 1)
    files = board.files
    assert f"--flash {files.flash} --registers {files.registers} --firmware" in files.console.read_text()
    assert f"--put {files.put['/config.json']}:/config.json" in files.console.read_text()


def test_a_board_on_words_of_32_bits_has_the_budget_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path))
    with pytest.raises(MissingPartError, match="make micropython32"):
        find_micropython(Vm.BITS_32)
    program = tmp_path / "micropython32/micropython"
    program.parent.mkdir()
    program.touch()
    files = BoardFiles(tmp_path / "flash.img", tmp_path / "registers", tmp_path / "console.log")
    board = Board("press-1", files, Checkout(tmp_path), vm=Vm.BITS_32)
    assert list(board.command().arguments[:3]) == [program, "-X", "heapsize=128k"]


async def test_reset_starts_the_board_again(board: Board, until: Until) -> None:
    board.files.put["/config.json"].write_text("reset")
    await board.power_on()
    await until(lambda: starts(board) == 2 and board.pid is not None)
    assert (board.resets, board.crashes) == (1, 0)


async def test_crash_is_counted_logged_and_survived(board: Board, until: Until) -> None:
    board.files.put["/config.json"].write_text("crash")
    await board.power_on()
    await until(lambda: starts(board) == 2 and board.pid is not None)
    assert (board.resets, board.crashes) == (0, 1)
    assert "ValueError: broken" in board.files.console.read_text()


async def test_hanging_board_is_reset_by_its_watchdog(board: Board, until: Until) -> None:
    await board.power_on()
    await until(lambda: starts(board) == 1)
    # A deadline long past, as a board leaves it that hangs.
    board.files.registers.write_bytes(bytes(16) + (1).to_bytes(8, "little"))
    await until(lambda: starts(board) >= 2)
    board.files.registers.write_bytes(bytes(24))
    assert (board.resets > 0, board.crashes) == (True, 0)
    assert board.files.flash.with_name("flash.img.reset").read_text() == "3 0"


async def test_watchdog_deadline_of_before_the_power_cut_does_not_kill_the_next_start(
    board: Board, until: Until
) -> None:
    """It passed while the board was dark, and a booting board needs a while to stop the watchdog."""
    await board.power_on()
    await until(lambda: starts(board) == 1)
    await board.power_cut()
    with board.files.registers.open("wb") as file:
        file.write(bytes(16) + (1).to_bytes(8, "little"))
    await board.power_on()
    await until(lambda: starts(board) == 2 and board.files.registers.read_bytes()[16:24] == bytes(8))
    assert (board.resets, board.crashes) == (0, 0)


async def test_killed_board_comes_back(board: Board, until: Until) -> None:
    await board.power_on()
    await until(lambda: starts(board) == 1)
    pid = board.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: board.pid not in (None, pid))


async def test_power_cut_lasts_until_power_comes_back(board: Board, until: Until) -> None:
    await board.power_on()
    await until(lambda: starts(board) == 1)
    await board.power_cut()
    assert board.pid is None
    await board.power_on()
    await until(lambda: starts(board) == 2)
    assert board.crashes == 0


async def test_power_off_ends_the_process(board: Board, until: Until) -> None:
    await board.power_on()
    await until(lambda: starts(board) == 1)
    pid = board.pid
    assert pid is not None
    await board.power_off()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_checkout_is_found_upwards_and_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDON_HOME", raising=False)
    (tmp_path / "firmware/sim").mkdir(parents=True)
    (tmp_path / "firmware/sim/board.py").touch()
    deep = tmp_path / "a/b"
    deep.mkdir(parents=True)
    assert find_checkout(deep).root == tmp_path
    monkeypatch.setenv("ANDON_HOME", str(tmp_path))
    assert find_checkout().firmware == tmp_path / "firmware"


def test_missing_checkout_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDON_HOME", raising=False)
    with pytest.raises(CheckoutNotFoundError, match="set ANDON_HOME"):
        find_checkout(tmp_path)
    monkeypatch.setenv("ANDON_HOME", str(tmp_path))
    with pytest.raises(CheckoutNotFoundError, match="expected a checkout"):
        find_checkout()
