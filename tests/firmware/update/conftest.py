from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.update.vm import UpdateBoard, micropython
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpdateBoard]:
    require_part("micropython", found=micropython() is not None, how="make dev")
    with UpdateBoard(tmp_path_factory.mktemp("update")) as started:
        yield started


@pytest.fixture
def board(vm: UpdateBoard) -> UpdateBoard:
    vm.fresh()
    return vm
