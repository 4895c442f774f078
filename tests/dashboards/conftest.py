from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from dashboards.grafana_flux import ALL, Choice, Frame, Period
from influxdb_server import influxdb_server  # noqa: F401  # a fixture

from dashboards import demo_plant, grafana_flux

if TYPE_CHECKING:
    from collections.abc import Callable

    from influxdb_server import InfluxServer

FILE = Path(__file__).resolve().parents[2] / "dashboards" / "generated" / "plant-overview.json"

Ask: TypeAlias = "Callable[..., list[Frame]]"


@pytest.fixture(scope="session")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="session")
def period() -> Period:
    # Variables look back from now, so the plant ran just now; whole minutes keep the known figures whole.
    stop = datetime.now(UTC).replace(second=0, microsecond=0)
    return Period(stop - timedelta(minutes=demo_plant.MINUTES), stop)


@pytest.fixture(scope="session")
def plant_bucket(influxdb_server: InfluxServer, period: Period) -> str:  # noqa: F811  # pytest's way to use a fixture
    bucket = influxdb_server.create_bucket()
    influxdb_server.request(
        "POST",
        "/api/v2/write",
        params={"org": influxdb_server.org, "bucket": bucket, "precision": "ms"},
        content=demo_plant.line_protocol(period.stop).encode(),
    )
    return bucket


@pytest.fixture
def ask(
    influxdb_server: InfluxServer,  # noqa: F811  # pytest's way to use a fixture
    plant_bucket: str,
    period: Period,
    dashboard: dict[str, Any],
) -> Ask:
    """Ask what a panel asks, by its title, with choices such as `machine=["press-1"]`; all where nothing is chosen."""

    def run(title: str, during: Period = period, bucket: str = plant_bucket, **chosen: list[str]) -> list[Frame]:
        panel = next(panel for panel in dashboard["panels"] if panel["title"] == title)
        minimum = timedelta(seconds=grafana_flux.seconds(panel.get("interval", "5s")))
        (target,) = panel["targets"]
        choices = {
            variable["name"]: Choice(chosen.get(variable["name"], [ALL]), variable["allValue"])
            for variable in dashboard["templating"]["list"]
        }
        text = grafana_flux.template(target["query"], choices)
        return grafana_flux.query(
            influxdb_server, grafana_flux.macros(text, during, minimum, bucket, influxdb_server.org)
        )

    return run
