"""Every query of the dashboard against a real InfluxDB that holds a plant whose figures are known."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dashboards.demo_plant import MACHINES
from dashboards.grafana_flux import ALL, Choice, Frame, Period

from dashboards import demo_plant, grafana_flux

if TYPE_CHECKING:
    from dashboards.conftest import Ask
    from influxdb_server import InfluxServer

PANELS: dict[str, dict[str, Any]] = {
    panel["title"]: panel
    for panel in json.loads(
        (Path(__file__).resolve().parents[2] / "dashboards/generated/plant-overview.json").read_text(encoding="utf-8")
    )["panels"]
    if panel["type"] != "row"
}

NAMES = {machine.name for machine in MACHINES}
SERIES = {"timeseries": "series", "state-timeline": "series"}


def by_label(frames: list[Frame], label: str) -> dict[str, Frame]:
    found = {frame.labels[label]: frame for frame in frames}
    assert len(found) == len(frames), "two series with one name"
    return found


def one(frames: list[Frame]) -> list[dict[str, Any]]:
    (frame,) = frames
    return frame.rows()


def value(frames: list[Frame], column: str) -> Any:
    (row,) = one(frames)
    return row[column]


@pytest.mark.parametrize("title", PANELS)
def test_every_panel_gets_the_frames_that_it_draws(title: str, ask: Ask) -> None:
    panel, frames = PANELS[title], ask(title)
    assert frames
    assert all(len(next(iter(frame.columns.values()))) > 0 for frame in frames)
    if panel["type"] in {"timeseries", "state-timeline"}:
        label = panel["fieldConfig"]["defaults"]["displayName"].removeprefix("${__field.labels.").removesuffix("}")
        for name, frame in by_label(frames, label).items():
            assert name
            assert list(frame.labels) == [label]
            assert frame.columns["Time"] == sorted(set(frame.columns["Time"])), "times must rise"
    if panel["type"] in {"table", "bargauge"}:
        assert len(frames) == 1, "a table panel shows one frame at a time"
        overridden = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        assert overridden <= set(frames[0].columns)


@pytest.mark.parametrize("title", PANELS)
def test_every_panel_follows_the_choice_of_one_machine(title: str, ask: Ask) -> None:
    frames = ask(title, machine=["press-1"])
    named = {str(cell) for frame in frames for name in ("machine", "node") for cell in frame.columns.get(name, [])}
    named |= {text for frame in frames for text in frame.labels.values()}
    assert named <= {"press-1"}, "press-10 must not come along"


@pytest.mark.parametrize("title", PANELS)
def test_an_empty_bucket_is_no_error(title: str, ask: Ask, influxdb_server: InfluxServer) -> None:
    frames = ask(title, bucket=influxdb_server.create_bucket())
    assert all(cell in {None, 0} for frame in frames for column in frame.columns.values() for cell in column)


def test_cycle_rate_is_the_machines_true_rate(ask: Ask) -> None:
    rates = by_label(ask("Cycle rate"), "series")
    assert set(rates) == NAMES
    for machine in MACHINES:
        measured = rates[machine.name].columns["total"]
        assert len(measured) >= 5
        assert measured == pytest.approx([machine.per_minute] * len(measured), abs=0.01), machine.name


def test_cycle_rate_leaves_a_gap_when_a_counter_falls(ask: Ask, influxdb_server: InfluxServer, period: Period) -> None:
    bucket = influxdb_server.create_bucket()
    tags = "cycles,channel=0,area=a,line=l,machine=m,node=m,site=s"
    start = int(period.start.timestamp() * 1000)
    points = [f"{tags} total={total}i {start + 60_000 * n + 1}" for n, total in enumerate([90, 100, 110, 3, 13])]
    write = {"org": influxdb_server.org, "bucket": bucket, "precision": "ms"}
    influxdb_server.request("POST", "/api/v2/write", params=write, content="\n".join(points).encode())
    (rate,) = ask("Cycle rate", bucket=bucket)
    assert rate.columns["total"] == pytest.approx([10, 10])


def test_cycle_rate_is_known_from_the_periods_first_minute_on(ask: Ask, period: Period) -> None:
    half = Period(period.start + timedelta(minutes=5), period.stop)
    rate = by_label(ask("Cycle rate", during=half), "series")["press-1"]
    assert rate.columns["Time"][0] < half.start + timedelta(minutes=1)
    assert rate.columns["total"] == pytest.approx([30] * 5, abs=0.01)


def test_cycles_of_the_period(ask: Ask) -> None:
    counted = {row["machine"]: row["cycles"] for row in one(ask("Cycles per machine"))}
    assert counted == {machine.name: demo_plant.cycles_in(machine) for machine in MACHINES}
    assert list(counted.values()) == sorted(counted.values(), reverse=True)
    assert value(ask("Cycles in the period"), "cycles") == sum(counted.values())


def test_machines_are_counted_by_state(ask: Ask) -> None:
    states = [machine.state for machine in MACHINES]
    assert value(ask("Machines running"), "machines") == states.count("running") == 4
    assert value(ask("Machines silent"), "machines") == states.count("silent") == 1
    assert value(ask("Machines silent", line=["l1"]), "machines") == 0


def test_state_tiles(ask: Ask) -> None:
    (frame,) = ask("Machine state")
    assert set(frame.columns) == {"machine", "state"}, "Grafana names a tile by the row's only other text"
    assert {row["machine"]: row["state"] for row in frame.rows()} == {m.name: m.state for m in MACHINES}


def test_states_have_a_colour(ask: Ask) -> None:
    (mapping,) = PANELS["Machine state"]["fieldConfig"]["defaults"]["mappings"]
    shown = {row["state"] for row in one(ask("Machine state"))}
    assert shown == {"running", "stopped", "silent"} == set(mapping["options"])


def test_machine_table(ask: Ask) -> None:
    rows = {row["machine"]: row for row in one(ask("Machines"))}
    assert set(rows) == NAMES
    for machine in MACHINES:
        row, last = rows[machine.name], demo_plant.last_second(machine)
        assert (row["area"], row["line"], row["state"]) == (machine.area, machine.line, machine.state)
        assert row["temperature"] == pytest.approx(demo_plant.temperature_at(machine, last))
        assert row["cycles"] == demo_plant.cycles_in(machine)
        assert row["age"] == pytest.approx(demo_plant.MINUTES * 60 - last, abs=0.001)
        assert row["relay"] == (0 if machine.name == demo_plant.RELAY_OFF else 1)
        assert row["rate"] == pytest.approx(machine.per_minute, rel=0.1), "whole cycles over five minutes"


def test_machine_table_says_the_same_of_a_machine_alone(ask: Ask) -> None:
    for row in one(ask("Machines")):
        assert one(ask("Machines", machine=[row["machine"]])) == [row]


def test_highest_temperature(ask: Ask) -> None:
    hottest = next(machine for machine in MACHINES if machine.name == demo_plant.HOTTEST)
    expected = demo_plant.temperature_at(hottest, demo_plant.last_second(hottest))
    assert value(ask("Highest temperature"), "temperature") == pytest.approx(expected)


def test_temperature_is_the_mean_of_each_window(ask: Ask, period: Period) -> None:
    frames = by_label(ask("Temperature"), "series")
    assert set(frames) == NAMES | {"press-10 / 1"}
    machine = MACHINES[0]
    first = dict(zip(frames[machine.name].columns["Time"], frames[machine.name].columns["celsius"], strict=True))
    # The first whole window of 5 s holds the readings of its seconds 0, 2 and 4 and carries its end as its time.
    expected = sum(demo_plant.temperature_at(machine, second) for second in (0, 2, 4)) / 3
    assert first[period.start + timedelta(seconds=5)] == pytest.approx(expected)


def test_relays_show_when_they_opened(ask: Ask, period: Period) -> None:
    relay = by_label(ask("Relays"), "series")[demo_plant.RELAY_OFF]
    opened = [at for at, on in zip(relay.columns["Time"], relay.columns["on"], strict=True) if on is False]
    assert opened[0] - period.start == timedelta(seconds=305), "the end of the first window in which it was open"
    assert len(opened) == sum(at >= opened[0] for at in relay.columns["Time"]), "and it stayed open"


def test_last_seen(ask: Ask, period: Period) -> None:
    rows = one(ask("Last seen"))
    assert rows[0]["node"] == "saw-1", "the longest silent one stands first"
    for row in rows:
        machine = next(machine for machine in MACHINES if machine.name == row["node"])
        assert row["last reading"] == period.start + timedelta(seconds=demo_plant.last_second(machine))
        assert row["age"] == pytest.approx((period.stop - row["last reading"]).total_seconds())


def test_a_node_silent_since_before_the_period_is_still_listed(ask: Ask, period: Period) -> None:
    later = Period(period.stop + timedelta(hours=1), period.stop + timedelta(hours=2))
    assert {row["node"] for row in one(ask("Last seen", during=later))} == NAMES
    assert {row["state"] for row in one(ask("Machines", during=later))} == {"silent"}
    assert value(ask("Machines silent", during=later), "machines") == len(MACHINES)


def test_node_health_shows_the_worst_of_each_window(ask: Ask) -> None:
    queued = by_label(ask("Packs waiting on the node"), "node")
    assert max(queued[demo_plant.FAULTY].columns["queued"]) == demo_plant.QUEUE_PEAK
    assert max(queued["press-1"].columns["queued"]) == 0
    heap = by_label(ask("Free heap"), "node")["press-1"].columns["heap_free"]
    assert heap == [100_000 - second for second in range(0, 600, 30)]
    assert min(by_label(ask("Wi-Fi signal"), "node")["press-1"].columns["rssi"]) == -56


def test_a_long_period_takes_the_worst_of_wide_windows(ask: Ask, period: Period) -> None:
    day = Period(period.stop - timedelta(days=1), period.stop, points=24)
    heap = by_label(ask("Free heap", during=day), "node")["press-1"].columns["heap_free"]
    assert heap[-1] == 100_000 - 570


def test_sensor_faults_newest_first(ask: Ask) -> None:
    rows = one(ask("Sensor faults"))
    assert [(row["machine"], row["channel"], row["fault"]) for row in rows] == [
        (demo_plant.FAULTY, "0", "ok"),
        (demo_plant.FAULTY, "0", "crc"),
    ]


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("site", {}, {"demo"}),
        ("area", {}, {"forming", "cutting", "heat"}),
        ("line", {"area": ["forming", "heat"]}, {"l1", "l3"}),
        ("machine", {"area": ["forming"], "line": ["l1"]}, {"press-1", "press-10"}),
        ("machine", {"area": ["forming"], "line": ["l2"]}, set()),
    ],
)
def test_variables_offer_what_is_below_the_choice(
    name: str,
    chosen: dict[str, list[str]],
    expected: set[str],
    influxdb_server: InfluxServer,
    plant_bucket: str,
    dashboard: dict[str, Any],
    period: Period,
) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    choices = {key: Choice(chosen.get(key, [ALL]), variable["allValue"]) for key, variable in variables.items()}
    text = grafana_flux.template(variables[name]["query"], choices)
    text = grafana_flux.macros(text, period, timedelta(seconds=5), plant_bucket, influxdb_server.org)
    found = {cell for frame in grafana_flux.query(influxdb_server, text) for cell in frame.columns["_value"]}
    assert found == expected
