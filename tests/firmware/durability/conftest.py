from __future__ import annotations

import pytest
from firmware.oscore.vm import micropython
from parts import require_part


@pytest.fixture(scope="session", autouse=True)
def _vm() -> None:
    require_part("micropython", found=micropython() is not None, how="make dev")
