"""The uplink against a stand-in cloud that fails in every way of the write endpoint, and against a real InfluxDB."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from gateway.stand_in_cloud import TOKEN, StandInCloud, influx_error, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.spool.spool import Spool
from andon_gateway.uplink.assets import AssetsEvent, AssetTable
from andon_gateway.uplink.influx import InfluxWriter
from andon_gateway.uplink.uplink import Uplink, UplinkPauses, Verdict, WriteAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from influxdb_server import InfluxServer

NOW = 1_764_000_000_000
PAUSES = UplinkPauses(batch_packs=50, retry_first_s=0.02, retry_most_s=0.1, refused_s=0.05)
PLACE = {"site": "demo", "area": "a1", "line": "l1", "machine": "press-7"}


class Station:
    """Spool, assets and uplink without the rest of the gateway."""

    def __init__(
        self, folder: Path, url: str, token: str = TOKEN, bucket: str = "telemetry", timeout_s: float = 2
    ) -> None:
        self.database = GroupCommit(folder / "uplink.sqlite3", lambda call: call())
        self.spool = Spool(self.database)
        self.assets = AssetTable(self.database, open_reader(self.database.path))
        self.writer = InfluxWriter(url, token, "andon", bucket, timeout_s)
        self.uplink = Uplink(self.database.path, self.spool, self.assets, self.writer, PAUSES)
        self.database.after_commit.append(self.uplink.wake)
        self.database.start()
        self._seq = 0

    def mount(self, *nodes: str) -> None:
        event = AssetsEvent.model_validate({"version": 1, "nodes": dict.fromkeys(nodes, PLACE)})
        self.assets.replace(event).result(60)

    def add(self, *values: float, node: str = "press-7") -> None:
        for value in values:
            self._seq += 1
            pack = Pack(node, 1, self._seq, [Reading("temperature/0", NOW + self._seq, float(value))])
            self.spool.append(pack, NOW, lambda _new, _error: None)
        self.database.run(lambda _c: None).result(60)

    def left(self) -> int:
        reader = open_reader(self.database.path)
        count = int(reader.execute("SELECT count(*) FROM spool").fetchone()[0])
        reader.close()
        return count

    def dead(self) -> list[tuple[str, str]]:
        reader = open_reader(self.database.path)
        rows = reader.execute("SELECT line, reason FROM dead_letter").fetchall()
        reader.close()
        return rows

    def close(self) -> None:
        if self.uplink.alive:
            self.uplink.drain_and_stop(60)
        self.database.close()
        self.writer.close()


@pytest.fixture
def station(tmp_path: Path, cloud: StandInCloud) -> Iterator[Station]:
    built = Station(tmp_path, cloud.url)
    built.mount("press-7")
    yield built
    built.close()


def stored(cloud: StandInCloud) -> list[float]:
    return [float(value) for _, value in cloud.values("temperature", "celsius")]


def fail_times(times: int, answer: Callable[[], Response]) -> Callable[[list[str]], Response | None]:
    left = [times]

    def rule(_lines: list[str]) -> Response | None:
        left[0] -= 1
        return answer() if left[0] >= 0 else None

    return rule


def test_what_an_earlier_run_left_is_sent_first_in_order_gzipped(station: Station, cloud: StandInCloud) -> None:
    station.add(*range(120))
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(cloud) == [float(value) for value in range(120)]
    assert list(cloud.arrived) == list(cloud.points)
    assert cloud.writes == 3
    assert cloud.encodings == {"gzip"}
    assert cloud.queries == {"org=andon&bucket=telemetry&precision=ms"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda: influx_error(401, "unauthorized", "unauthorized access"),
        lambda: influx_error(404, "not found", "bucket not found"),
        lambda: influx_error(429, "too many requests", "slow down", retry_after="0"),
        lambda: influx_error(503, "unavailable", "starting"),
        lambda: influx_error(500, "internal error", "internal error"),
        lambda: Response(status_code=302, headers={"Location": "/elsewhere"}),
        lambda: Response("<html>please log in</html>", status_code=200),  # a captive portal
    ],
    ids=["401", "404", "429", "503", "500", "302", "200"],
)
def test_nothing_is_lost_while_the_cloud_does_not_take_it(
    station: Station, cloud: StandInCloud, answer: Callable[[], Response]
) -> None:
    cloud.rule = fail_times(3, answer)
    station.add(1, 2, 3)
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(cloud) == [1.0, 2.0, 3.0]
    assert cloud.writes == 4
    assert station.dead() == []
    assert station.uplink.counts.failures == 3


def test_retry_after_is_honoured(station: Station, cloud: StandInCloud) -> None:
    moments: list[float] = []

    def rule(_lines: list[str]) -> Response | None:
        moments.append(time.monotonic())
        return influx_error(503, "unavailable", "later", retry_after="1") if len(moments) == 1 else None

    cloud.rule = rule
    station.add(1)
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert 1.0 <= moments[1] - moments[0] < 3.0


def test_bad_lines_are_isolated_as_dead_letters(station: Station, cloud: StandInCloud) -> None:
    def rule(lines: list[str]) -> Response | None:
        if any("celsius=13.0" in line or "celsius=37.0" in line for line in lines):
            return influx_error(400, "invalid", "unable to parse")
        return None

    cloud.rule = rule
    station.add(*range(50))
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(cloud) == [float(value) for value in range(50) if value not in (13, 37)]
    assert [(line.split()[1], reason) for line, reason in station.dead()] == [
        ("celsius=13.0", "400 unable to parse"),
        ("celsius=37.0", "400 unable to parse"),
    ]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "body", ["<html>The plain HTTP request was sent to HTTPS port</html>", '{"detail": "no"}', "[]"]
)
def test_a_proxy_that_refuses_makes_no_dead_letters(
    station: Station, cloud: StandInCloud, status: int, body: str
) -> None:
    cloud.rule = lambda _lines: Response(body, status_code=status)
    station.add(*range(50))
    station.uplink.start()
    wait_until(lambda: station.uplink.counts.failures >= 2, "two refusals")
    assert (station.left(), station.dead()) == (50, [])
    cloud.rule = None
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(cloud) == [float(value) for value in range(50)]


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE spool SET readings = '[["temperaturf/0",1,2.0]]', numbers = NULL""",
        "UPDATE spool SET readings = '[[', numbers = NULL",
        "UPDATE spool SET readings = '7', numbers = NULL",
        "UPDATE spool SET numbers = x'00'",
        """UPDATE spool SET readings = '["dz","temperature/0"]', numbers = x'00'""",
        "UPDATE spool SET readings = '', numbers = zeroblob(16), form = 99",
    ],
)
def test_a_damaged_row_becomes_a_dead_letter_and_holds_nobody_up(
    station: Station, cloud: StandInCloud, damage: str
) -> None:
    station.add(1, 2, 3)
    station.database.run(lambda c: c.execute(f"{damage} WHERE id = 2")).result(60)
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(cloud) == [1.0, 3.0]
    ((line, reason),) = station.dead()
    assert line.startswith("node=press-7 boot=1 ")
    assert reason.startswith("no line can be made of this row")
    counts = station.uplink.counts
    wait_until(lambda: (counts.points, counts.dead_letters) == (2, 1), "the counts, which follow the removal")


def test_an_outage_while_bad_lines_are_isolated_leaves_no_trace(station: Station, cloud: StandInCloud) -> None:
    calls = [0]

    def rule(lines: list[str]) -> Response | None:
        calls[0] += 1
        if calls[0] == 4:
            return influx_error(503, "unavailable", "restarting")
        bad = any("celsius=5.0" in line for line in lines)
        return influx_error(400, "invalid", "unable to parse") if bad else None

    cloud.rule = rule
    station.add(*range(10))
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert len(station.dead()) == 1
    assert stored(cloud) == [float(value) for value in range(10) if value != 5]


def test_too_large_batches_are_halved(station: Station, cloud: StandInCloud) -> None:
    cloud.rule = lambda lines: influx_error(413, "request too large", "too large") if len(lines) > 7 else None
    station.add(*range(50))
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(cloud) == [float(value) for value in range(50)]
    assert station.dead() == []


def test_connection_refused_then_there(tmp_path: Path) -> None:
    closed = StandInCloud()  # bound, so that nobody else gets the port, but not listening
    station = Station(tmp_path, closed.url)
    station.mount("press-7")
    station.add(1)
    station.uplink.start()
    wait_until(lambda: station.uplink.counts.failures >= 2, "two failures")
    closed.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert stored(closed) == [1.0]
    station.close()
    closed.stop()


def test_a_cloud_that_hangs_is_given_up_and_asked_again(tmp_path: Path, cloud: StandInCloud) -> None:
    station = Station(tmp_path, cloud.url, timeout_s=0.2)
    station.mount("press-7")
    release = asyncio.Event()
    calls = [0]
    original = cloud._write

    async def hang(request: Any) -> Response:
        calls[0] += 1
        if calls[0] == 1:
            await release.wait()
        return await original(request)

    cloud.replace_write(hang)
    station.add(1)
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool")
    cloud.call(release.set)
    # A busy stand-in may be too slow a second time.
    assert calls[0] >= 2
    assert stored(cloud) == [1.0]
    station.close()


def test_nodes_without_asset_wait_and_do_not_block(station: Station, cloud: StandInCloud) -> None:
    station.add(*range(120), node="unknown")
    station.add(200)
    station.uplink.start()
    wait_until(lambda: stored(cloud) == [200.0], "the known node's reading")
    wait_until(lambda: station.left() == 120, "the others to wait")
    station.mount("press-7", "unknown")
    wait_until(lambda: station.left() == 0, "an empty spool")
    assert len(stored(cloud)) == 121


def _is_stored(cloud: StandInCloud, value: float) -> bool:
    return float(value) in stored(cloud)


def test_the_uplink_is_awake_at_once(station: Station, cloud: StandInCloud) -> None:
    station.uplink.start()
    station.add(0)
    wait_until(lambda: station.left() == 0, "the first write")
    delays = []
    for value in range(1, 21):
        before = time.time()
        station.add(value)
        wait_until(partial(_is_stored, cloud, value), "the reading")
        delays.append(max(cloud.arrived.values()) - before)
    # Speed is measured in bench/; polling would cost half of RESEND_POLL_S.
    assert sorted(delays)[10] < 0.5, "the uplink polls"


def test_a_last_pass_sends_what_is_there(station: Station, cloud: StandInCloud) -> None:
    station.uplink.start()
    station.add(*range(60))
    station.uplink.drain_and_stop(60)
    assert not station.uplink.alive
    assert len(stored(cloud)) == 60


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 599))
def test_every_status_has_a_verdict_and_only_204_is_stored(status: int) -> None:
    assert (WriteAnswer(status).verdict is Verdict.STORED) == (status == 204)


def test_against_a_real_influxdb(tmp_path: Path, influxdb_server: InfluxServer) -> None:
    bucket = influxdb_server.create_bucket()
    station = Station(tmp_path, influxdb_server.url, influxdb_server.token, bucket, timeout_s=10)
    station.mount("press-7")
    readings = [
        Reading("temperature/0", NOW, 41.1875),
        Reading("temperature/0/fault", NOW, "crc"),
        Reading("cycles/0", NOW, 18231),
        Reading("relay/0", NOW, True),
        Reading("node/rssi", NOW, -61),
        Reading("node/uptime_s", NOW, 93),
    ]
    station.spool.append(Pack("press-7", 12, 0, readings), NOW, lambda _new, _error: None)
    station.add(*range(100))
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool", 30)
    assert station.dead() == []
    flux = f'from(bucket:"{bucket}") |> range(start:2025-11-24T16:00:00Z, stop:2025-11-24T16:01:00Z)'
    tables: Any = station.writer._client.query_api().query(flux)
    found = {
        (r.get_measurement(), r.get_field(), r.get_time().timestamp() * 1000): r for t in tables for r in t.records
    }
    values = {key[:2]: record.get_value() for key, record in found.items() if key[2] == NOW}
    assert values == {
        ("temperature", "celsius"): 41.1875,
        ("temperature", "fault"): "crc",
        ("cycles", "total"): 18231,
        ("relay", "on"): True,
        ("node", "rssi"): -61,
        ("node", "uptime_s"): 93,
        ("node", "boots"): 12,
    }
    assert sum(key[:2] == ("temperature", "celsius") for key in found) == 101
    tags = {"site": "demo", "area": "a1", "line": "l1", "machine": "press-7", "node": "press-7", "channel": "0"}
    assert tags.items() <= found["cycles", "total", NOW].values.items()
    station.close()


def test_a_field_type_that_influxdb_refuses_becomes_a_dead_letter(
    tmp_path: Path, influxdb_server: InfluxServer
) -> None:
    bucket = influxdb_server.create_bucket()
    seed = InfluxWriter(influxdb_server.url, influxdb_server.token, "andon", bucket, 10)
    tags = "area=a1,channel=0,line=l1,machine=press-7,node=press-7,site=demo"
    assert seed.write([f"temperature,{tags} celsius=1i {NOW}"]).verdict is Verdict.STORED  # an integer: the wrong type
    seed.close()
    station = Station(tmp_path, influxdb_server.url, influxdb_server.token, bucket, timeout_s=10)
    station.mount("press-7")
    station.add(1.5)
    station.spool.append(Pack("press-7", 2, 0, [Reading("relay/0", NOW, True)]), NOW, lambda _new, _error: None)
    station.uplink.start()
    wait_until(lambda: station.left() == 0, "an empty spool", 30)
    ((line, reason),) = station.dead()
    assert "celsius=1.5" in line
    assert "conflict" in reason
    assert station.uplink.counts.points == 1
    station.close()


def test_a_wrong_token_keeps_everything(tmp_path: Path, influxdb_server: InfluxServer) -> None:
    station = Station(tmp_path, influxdb_server.url, "wrong", influxdb_server.create_bucket(), timeout_s=10)
    station.mount("press-7")
    station.add(1)
    station.uplink.start()
    wait_until(lambda: station.uplink.counts.failures >= 2, "two refusals")
    assert station.left() == 1
    assert station.dead() == []
    station.close()


def test_a_rate_is_kept_and_live_data_does_not_wait_for_the_backlog(tmp_path: Path, cloud: StandInCloud) -> None:
    station = Station(tmp_path, cloud.url)
    station.uplink = Uplink(
        station.database.path, station.spool, station.assets, station.writer,
        UplinkPauses(batch_packs=50, points_per_s=400, live_s=0.3, retry_first_s=0.02, retry_most_s=0.1),
    )  # fmt: skip
    station.database.after_commit.append(station.uplink.wake)
    station.mount("press-7")
    station.add(*range(1000))  # stamped NOW, which is long ago: a backlog
    began = time.monotonic()
    station.uplink.start()
    wait_until(lambda: station.uplink.catching_up, "two lanes")
    fresh = Pack("press-7", 1, 5000, [Reading("temperature/0", NOW + 5000, 5000.0)])
    station.spool.append(fresh, time.time_ns() // 1_000_000, lambda _new, _error: None)
    wait_until(lambda: 5000.0 in stored(cloud), "the fresh reading")
    assert station.left() > 300, "the backlog went first"
    wait_until(lambda: station.left() == 0, "an empty spool")
    took_s = time.monotonic() - began
    assert took_s > 1001 / 400 - 1.2, "faster than the rate allows"
    assert sorted(stored(cloud)) == [*map(float, range(1000)), 5000.0]
    station.close()


def test_stopping_does_not_wait_for_the_rate(tmp_path: Path, cloud: StandInCloud) -> None:
    station = Station(tmp_path, cloud.url)
    station.uplink = Uplink(
        station.database.path, station.spool, station.assets, station.writer, UplinkPauses(points_per_s=10)
    )
    station.mount("press-7")
    station.add(*range(200))
    station.uplink.start()
    wait_until(lambda: cloud.writes >= 1, "the first write")
    began = time.monotonic()
    station.uplink.drain_and_stop(10)
    assert not station.uplink.alive
    assert time.monotonic() - began < 5
    assert len(stored(cloud)) + station.left() == 200
    station.close()
