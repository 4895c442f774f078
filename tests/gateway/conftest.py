from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway.gateway_process import GatewayProcess
from gateway.rules_plant import plant  # noqa: F401 -- a fixture
from gateway.stand_in_cloud import StandInCloud
from influxdb_server import influxdb_server  # noqa: F401 -- a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cloud() -> Iterator[StandInCloud]:
    stand_in = StandInCloud().start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def gateway(tmp_path: Path, cloud: StandInCloud) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path, cloud.url)
    yield process
    process.kill()
