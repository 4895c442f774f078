"""The dashboard in a real Grafana, where `ANDON_TEST_GRAFANA_URL` names one: it must read InfluxDB's answers as our kit does.

`ANDON_TEST_GRAFANA_USER` and `_PASSWORD` (both `admin` if unset) must belong to an administrator. Grafana must reach InfluxDB
under the address that this test uses; name it with `ANDON_TEST_INFLUXDB_URL` if they run on different machines. The
data source and the dashboard are removed at the end.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from dashboards.grafana_flux import ALL, Choice, Period
from parts import require_part

from andon_dashboards.flux import DATASOURCE_UID
from dashboards import grafana_flux

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from dashboards.conftest import Ask
    from influxdb_server import InfluxServer


@pytest.fixture
def grafana(influxdb_server: InfluxServer, plant_bucket: str) -> Iterator[httpx.Client]:
    """A client of a Grafana that has our data source, pointing to the known plant."""
    url = os.environ.get("ANDON_TEST_GRAFANA_URL")
    require_part("grafana", found=bool(url), how="start a Grafana and set ANDON_TEST_GRAFANA_URL")
    assert url
    login = tuple(os.environ.get(f"ANDON_TEST_GRAFANA_{name}", "admin") for name in ("USER", "PASSWORD"))
    source = {
        "name": "Andon test",
        "uid": DATASOURCE_UID,
        "type": "influxdb",
        "access": "proxy",
        "url": influxdb_server.url,
        "jsonData": {"version": "Flux", "organization": influxdb_server.org, "defaultBucket": plant_bucket},
        "secureJsonData": {"token": influxdb_server.token},
    }
    with httpx.Client(base_url=url, auth=(login[0], login[1]), timeout=30) as client:
        client.post("/api/datasources", json=source).raise_for_status()
        try:
            yield client
        finally:
            client.delete(f"/api/datasources/uid/{DATASOURCE_UID}").raise_for_status()


def test_grafana_keeps_the_dashboard_as_it_is(grafana: httpx.Client, dashboard: dict[str, Any]) -> None:
    grafana.post("/api/dashboards/db", json={"dashboard": dashboard, "overwrite": True}).raise_for_status()
    try:
        kept = grafana.get(f"/api/dashboards/uid/{dashboard['uid']}").raise_for_status().json()["dashboard"]
        assert [panel["title"] for panel in kept["panels"]] == [panel["title"] for panel in dashboard["panels"]]
    finally:
        grafana.delete(f"/api/dashboards/uid/{dashboard['uid']}").raise_for_status()


def test_grafana_reads_the_same_frames_as_our_kit(
    grafana: httpx.Client, dashboard: dict[str, Any], ask: Ask, period: Period
) -> None:
    choices = {variable["name"]: Choice([ALL], variable["allValue"]) for variable in dashboard["templating"]["list"]}
    for panel in [panel for panel in dashboard["panels"] if panel["type"] != "row"]:
        (target,) = panel["targets"]
        minimum = timedelta(seconds=grafana_flux.seconds(panel.get("interval", "5s")))
        query = target | {
            "query": grafana_flux.template(target["query"], choices),
            "intervalMs": period.interval(minimum) // timedelta(milliseconds=1),
            "maxDataPoints": period.points,
        }
        times = {"from": _milliseconds(period.start), "to": _milliseconds(period.stop)}
        answer = grafana.post("/api/ds/query", json={"queries": [query], **times})
        result = answer.raise_for_status().json()["results"][target["refId"]]
        assert "error" not in result, panel["title"]
        theirs = [frame["data"]["values"] for frame in result["frames"]]
        ours = [list(frame.columns.values()) for frame in ask(panel["title"])]
        assert [[len(column) for column in frame] for frame in theirs] == [
            [len(column) for column in frame] for frame in ours
        ], panel["title"]


def _milliseconds(moment: datetime) -> str:
    return str(round(moment.timestamp() * 1000))
