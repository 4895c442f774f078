"""The rungs by name, and what each declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from andon_workbench.rungs.bench import Bench, RungError
from andon_workbench.rungs.capability import ALL_UNIX, RENODE, Capability
from andon_workbench.rungs.renode.bench import RenodeBench
from andon_workbench.rungs.serial_bench import SerialBench, tied_to
from andon_workbench.rungs.unix_bench import UnixBench

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from andon_workbench.checkout import Checkout

DEFAULT = "unix"
_UNIX = ("unix-esp32", "unix-stm32")
_SERIAL = "serial:"


def boards_of(choice: str) -> tuple[str, ...]:
    """The boards that a choice of rung stands for: `unix` is an emulated ESP32 and an emulated STM32.

    Raises:
        RungError: there is no such rung.
    """
    if choice == DEFAULT:
        return _UNIX
    if choice in (*_UNIX, "renode") or (choice.startswith(_SERIAL) and choice != _SERIAL):
        return (choice,)
    raise RungError(f"--board {choice}: expected unix, renode or serial:PORT, such as serial:/dev/ttyUSB0")


def declared(board: str, environment: Mapping[str, str]) -> frozenset[Capability]:
    """What a rung or one of its boards can do at best; a bench that runs may lack some of it."""
    if board in (DEFAULT, "unix-esp32"):
        return ALL_UNIX
    if board == "unix-stm32":
        return ALL_UNIX - {Capability.FLEET}
    if board == "renode":
        return RENODE
    return tied_to(environment)


def open_bench(board: str, folder: Path, checkout: Checkout) -> Bench:
    """Make the bench of a board; it gets its power when it is entered.

    Raises:
        MissingPartError: something that the rung needs is not on this machine.
    """
    if board.startswith(_SERIAL):
        return SerialBench(board.removeprefix(_SERIAL))
    if board == "renode":
        return RenodeBench(folder, checkout)
    return UnixBench(folder, checkout, "stm32" if board == "unix-stm32" else "esp32")
