"""The MicroPython whose words have 32 bits, as on a chip: skip where it is missing, fail where CI requires it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from parts import require_part

from andon_workbench.board import Vm, find_micropython
from andon_workbench.errors import MissingPartError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def micropython32() -> Path:
    """The program. Use it with `from micropython32 import micropython32  # noqa: F401`."""
    try:
        return find_micropython(Vm.BITS_32)
    except MissingPartError:
        require_part("micropython32", found=False, how="make micropython32")
        raise
