from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from influxdb_server import influxdb_server  # noqa: F401  # a fixture

from andon_cloud.telemetry.embedded import EmbeddedStore
from andon_cloud.telemetry.influx import InfluxStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from influxdb_server import InfluxServer

    from andon_cloud.telemetry.store import TelemetryStore


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "telemetry.sqlite", synchronous="OFF")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["embedded", "influxdb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TelemetryStore]:
    """An empty store of each kind."""
    opened: TelemetryStore
    if request.param == "embedded":
        opened = EmbeddedStore(tmp_path / "telemetry.sqlite", synchronous="OFF")
    else:
        server: InfluxServer = request.getfixturevalue("influxdb_server")
        opened = InfluxStore(server.url, server.token, server.org, server.create_bucket())
    await opened.open()
    yield opened
    await opened.close()
