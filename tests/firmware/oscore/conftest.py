from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.oscore.vm import Board, micropython
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def board() -> Iterator[Board]:
    require_part("micropython", found=micropython() is not None, how="make dev")
    with Board() as started:
        yield started
