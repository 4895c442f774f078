"""Fixtures of the cloud's tests: both databases, the app on each, the server as a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from cloud.platform.harness import (
    GATEWAY_TOKEN,
    Cloud,
    StartServer,
    running,
    servers,
)
from cloud.platform.postgres_server import postgres  # noqa: F401 - a fixture

from andon_cloud.db.engine import Database
from andon_cloud.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    server: str = request.getfixturevalue("postgres")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of each kind."""
    opened = Database(database_url)
    await opened.upgrade()
    yield opened
    await opened.close()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings for an app on loopback with one gateway and no console; it sweeps only when the test says so."""
    return load(
        data_dir=tmp_path / "data",
        database_url=database_url,
        bootstrap_gateways={"gw-1": GATEWAY_TOKEN},
        console=False,
        command_poll_s=60,
    )


@pytest.fixture
async def cloud(settings: Settings) -> AsyncIterator[Cloud]:
    """The app on each database."""
    async with running(settings) as cloud:
        yield cloud


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers; all end with the test."""
    with servers(tmp_path) as start:
        yield start
