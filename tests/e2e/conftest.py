"""A whole factory for each test: real processes on loopback, ports chosen by the system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from parts import require_part

from andon_workbench.checkout import find_checkout
from andon_workbench.factory import Factory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from andon_workbench.plan import FactoryPlan

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def build(tmp_path: Path) -> Callable[[FactoryPlan], Factory]:
    """Makes a factory that has not started; enter it in the test, so that it is left in the same task."""

    def make(plan: FactoryPlan) -> Factory:
        return Factory(plan, find_checkout(), tmp_path)

    return make


@pytest.fixture
def influxd() -> None:
    """Skips (or fails in CI) where the demo would find no InfluxDB."""
    from influxdb_server import find_influxd  # noqa: PLC0415 -- only tests that ask for it need the module

    require_part("influxdb", found=find_influxd() is not None, how="make influxd")
