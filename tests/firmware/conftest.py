from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from firmware.aiocoap_gateway import AiocoapGateway
from firmware.emulated_board import EmulatedBoard
from firmware.register_file import RegisterFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def registers(tmp_path: Path) -> Iterator[RegisterFile]:
    file = RegisterFile(tmp_path / "registers.bin")
    yield file
    file.close()


@pytest.fixture
def board(tmp_path: Path, registers: RegisterFile) -> Iterator[EmulatedBoard]:
    emulated = EmulatedBoard(tmp_path, registers)
    yield emulated
    emulated.kill()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[AiocoapGateway]:
    server = AiocoapGateway()
    await server.start()
    yield server
    await server.stop()
