"""Finds the checkout: the folder that holds the rooms which the workbench starts as processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from andon_workbench.errors import CheckoutNotFoundError

_BOARD = Path("firmware/sim/board.py")


@dataclass(frozen=True, slots=True)
class Checkout:
    """The checkout's root, with the few places in it that the workbench needs."""

    root: Path

    @property
    def firmware(self) -> Path:
        """The board's sources."""
        return self.root / "firmware"

    @property
    def board(self) -> Path:
        """The program that runs the firmware on MicroPython's unix port."""
        return self.root / _BOARD


def find_checkout(start: Path | None = None) -> Checkout:
    """Find the checkout from `ANDON_HOME`, else by walking up from `start` (default: working folder, then this file).

    Raises:
        CheckoutNotFoundError: no folder on the way holds the firmware's emulated board.
    """
    home = os.environ.get("ANDON_HOME")
    if home:
        if (Path(home) / _BOARD).is_file():
            return Checkout(Path(home).resolve())
        raise CheckoutNotFoundError(f"ANDON_HOME={home}: expected a checkout of Andon with {_BOARD} in it")
    starts = [start] if start is not None else [Path.cwd(), Path(__file__)]
    for origin in starts:
        for folder in (origin.resolve(), *origin.resolve().parents):
            if (folder / _BOARD).is_file():
                return Checkout(folder)
    raise CheckoutNotFoundError(
        f"no checkout of Andon found ({_BOARD}): run inside it, or set ANDON_HOME to its folder"
    )
