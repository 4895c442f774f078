"""Aggregates per window against a reference, over any order, duplication, restart and loss of the process."""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gateway.gateway_process import GatewayProcess
from gateway.packs import pack as datagram
from gateway.packs import temperature
from gateway.stand_in_cloud import StandInCloud, wait_until
from gateway.udp_node import UdpNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool.aggregator import IDLE_MS, Aggregator
from andon_gateway.spool.database import GroupCommit, open_database
from andon_gateway.spool.spool import Spool
from andon_gateway.spool.windows import AggregateRule, Window, aggregated_names, rules_by_name
from andon_gateway.uplink.lineprotocol import Asset, render

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

START = 1_764_000_000_000
LINE = (
    "temperature,area=a1,channel=0,line=l1,machine=m1,node=press-7,site=demo celsius_count=3i,celsius_min=0.0,"
    f"celsius_max=2.0,celsius_mean=1.0,celsius_last=2.0 {START}"
)
LATE_MS = 86_400_000
RULES = rules_by_name([("temperature/*", AggregateRule(60_000, 2_000, raw=False))])


class Aggregating:
    """A spool with aggregates; `kill` leaves its files as a killed process would."""

    def __init__(self, path: Path, late_ms: int = LATE_MS, rules: Any = RULES) -> None:
        self.path = path
        self.database = GroupCommit(path, lambda call: call())
        self.spool = Spool(self.database, None, Aggregator(rules, late_ms))
        self.database.start()

    def take(self, *packs: Pack) -> None:
        left = threading.Semaphore(0)
        for pack in packs:
            self.spool.append(pack, arrival(pack), lambda _new, _error: left.release())
        for _ in packs:
            assert left.acquire(timeout=60)

    def idle(self, now_ms: int) -> None:
        self.spool.close_idle_windows(now_ms)
        self.database.run(lambda _c: None).result(60)

    def kill(self, to: Path) -> None:
        """Copy what is on disk, without letting the writer finish anything."""
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.path}{suffix}", f"{to}{suffix}")
        self.database.close()

    def lines(self) -> list[tuple[str, int, Any]]:
        reader = sqlite3.connect(self.path)
        rows = reader.execute("SELECT readings FROM spool ORDER BY id").fetchall()
        reader.close()
        return [(name, at, value) for (text,) in rows for name, at, value in json.loads(text)]


def arrival(pack: Pack) -> int:
    return max((reading.time_ms for reading in pack.readings), default=START)


def store(lines: list[tuple[str, int, Any]]) -> dict[tuple[str, int], Any]:
    """What the cloud holds: the last line of a time replaces the ones before."""
    return {(name, at): value for name, at, value in lines}


def reference(readings: list[Reading]) -> dict[tuple[str, int], list[float]]:
    windows = defaultdict(list)
    for reading in readings:
        windows[reading.name, reading.time_ms // 60_000 * 60_000].append((reading.time_ms, float(reading.value)))
    return {
        key: [
            len(found),
            min(value for _, value in found),
            max(value for _, value in found),
            statistics.fmean(value for _, value in found),
            max(found)[1],
        ]
        for key, found in windows.items()
    }


readings_of_a_pack = st.lists(
    st.builds(
        Reading,
        st.sampled_from(["temperature/0", "temperature/1"]),
        st.integers(START - 200_000, START + 400_000),
        st.floats(-1e6, 1e6) | st.sampled_from([0.1, 1e17, -1e17]),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packs=st.lists(readings_of_a_pack, min_size=1, max_size=8), data=st.data())
def test_aggregates_equal_the_reference_in_any_order_with_duplicates_and_kills(
    tmp_path_factory: pytest.TempPathFactory, packs: list[list[Reading]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("aggregates")
    sent = [Pack("press-7", 1, seq, readings) for seq, readings in enumerate(packs)]
    order = data.draw(st.permutations(sent + data.draw(st.lists(st.sampled_from(sent), max_size=4))))
    spool = Aggregating(folder / "0.sqlite3")
    for number, pack in enumerate(order, 1):
        spool.take(pack)
        choice = data.draw(st.sampled_from(["go on", "kill", "idle"]))
        if choice == "kill":
            spool.kill(folder / f"{number}.sqlite3")
            spool = Aggregating(folder / f"{number}.sqlite3")
        elif choice == "idle":
            spool.idle(START + data.draw(st.integers(0, 500_000)))
    spool.idle(START + 10_000_000)
    found = store(spool.lines())
    spool.database.close()
    assert found == reference([reading for pack in sent for reading in pack.readings])


def test_a_window_is_given_out_once_when_sample_time_has_passed_it(tmp_path: Path) -> None:
    spool = Aggregating(tmp_path / "a.sqlite3")
    for seq, offset in enumerate((0, 30_000, 59_999, 60_000, 61_999)):
        spool.take(Pack("a", 1, seq, [Reading("temperature/0", START + offset, float(seq))]))
    assert spool.lines() == [], "the grace is not over"
    spool.take(Pack("a", 1, 9, [Reading("temperature/1", START + 62_000, 5.0)]))
    window = ("temperature/0", START, [3, 0.0, 2.0, 1.0, 2.0])
    assert spool.lines() == [window]
    spool.take(Pack("a", 1, 10, [Reading("temperature/0", START + 63_000, 5.0)]))
    assert spool.lines() == [window]
    spool.take(Pack("a", 1, 11, [Reading("temperature/0", START + 10_000, 10.0)]))
    assert spool.lines()[1:] == [("temperature/0", START, [4, 0.0, 10.0, 3.25, 2.0])], "a late reading writes it again"
    spool.database.close()


def test_a_silent_node_s_window_is_closed_by_the_gateway_s_clock(tmp_path: Path) -> None:
    spool = Aggregating(tmp_path / "a.sqlite3")
    spool.take(Pack("a", 1, 0, [Reading("temperature/0", START, 1.5)]))
    spool.idle(START + 62_000 + IDLE_MS - 1)
    assert spool.lines() == []
    spool.idle(START + 62_000 + IDLE_MS)
    assert spool.lines() == [("temperature/0", START, [1, 1.5, 1.5, 1.5, 1.5])]
    spool.database.close()


def test_what_is_too_late_for_its_window_stays_raw_and_replaces_nothing(tmp_path: Path) -> None:
    spool = Aggregating(tmp_path / "a.sqlite3", late_ms=120_000)
    for seq in range(10):
        spool.take(Pack("a", 1, seq, [Reading("temperature/0", START + seq * 60_000, 1.0)]))
    before = store(spool.lines())
    spool.database.close()
    spool = Aggregating(tmp_path / "a.sqlite3", late_ms=LATE_MS)  # a longer time in the settings brings nothing back
    spool.take(Pack("a", 1, 20, [Reading("temperature/0", START + 7, 9.0)]))
    assert store(spool.lines()) == {**before, ("temperature/0", START + 7): 9.0}
    (kept,) = spool.database.run(lambda c: c.execute("SELECT count(*) FROM aggregate_window").fetchone()).result(60)
    assert kept < 6
    spool.database.close()


def test_raw_is_kept_where_it_is_wanted_and_other_quantities_always(tmp_path: Path) -> None:
    rules = rules_by_name(
        [("temperature/1", AggregateRule(60_000, 0, raw=True)), ("*", AggregateRule(60_000, 0, raw=False))]
    )
    spool = Aggregating(tmp_path / "a.sqlite3", rules=rules)
    names = ("temperature/0", "temperature/1")
    spool.take(
        Pack("a", 1, 0, [*(Reading(name, START, 2.0) for name in names), Reading("cycles/0", START, 7),
                         Reading("relay/0", START, value=True), Reading("temperature/0/fault", START, "ok"),
                         Reading("temperature/0", START + 1, 1e308)])
    )  # fmt: skip
    assert [(name, value) for name, _, value in spool.lines()] == [
        ("temperature/1", 2.0), ("cycles/0", 7), ("relay/0", True), ("temperature/0/fault", "ok"), ("temperature/0", 1e308),
    ]  # fmt: skip
    spool.database.close()


def test_lines_of_an_aggregate() -> None:
    asset = Asset("demo", "a1", "l1", "m1")
    assert render("press-7", -1, asset, [["temperature/0", START, [3, 0.0, 2, 1.0, 2.0]]]) == [LINE]


def test_the_mean_does_not_depend_on_the_order() -> None:
    values = [1e17, 0.1, -1e17, 0.2, 3e-9]
    means = set()
    for turn in range(len(values)):
        window = Window()
        for at, value in enumerate(values[turn:] + values[:turn]):
            window.take(value, at)
        means.add(window.summary()[3])
    assert means == {statistics.fmean(values)}


def test_patterns_name_continuous_quantities_only() -> None:
    assert aggregated_names("temperature/1?") == [f"temperature/{channel}" for channel in range(10, 20)]
    assert aggregated_names("cycles/*") == []
    assert aggregated_names("temperature/*/fault") == []


def test_nothing_of_a_failed_group_reaches_a_window(tmp_path: Path) -> None:
    spool = Aggregating(tmp_path / "a.sqlite3")

    def explode(_connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    pack = Pack("a", 1, 0, [Reading("temperature/0", START, 1.0)])
    spool.database.before_commit.append(explode)
    spool.take(pack)
    spool.database.before_commit.remove(explode)
    spool.take(pack)
    spool.idle(START + 1_000_000)
    assert spool.lines() == [("temperature/0", START, [1, 1.0, 1.0, 1.0, 1.0])]
    spool.database.close()
    open_database(tmp_path / "a.sqlite3").close()


def test_the_running_gateway_aggregates_once_through_a_kill(tmp_path: Path, cloud: StandInCloud) -> None:
    extra = '[[aggregate]]\nmatch = "temperature/*"\nwindow_s = 60\nraw = false\n'
    gateway = GatewayProcess(tmp_path, cloud.url, extra)
    cloud.mount("press-7")
    gateway.start()
    try:
        with UdpNode(gateway.coap_port) as node:
            for seq in range(12):
                payload = datagram("press-7", 1, seq, temperature(float(seq)), base_ms=START + seq * 10_000)
                if seq == 5:
                    gateway.kill()
                    gateway.start()
                for _ in range(2):  # a duplicate of each
                    assert node.post(payload, limit_s=60) == (2, 4)
        wait_until(lambda: len(cloud.values("temperature", "celsius_mean")) == 2, "both windows")
    finally:
        gateway.kill()
    assert cloud.values("temperature", "celsius_mean") == [(START, "2.5"), (START + 60_000, "8.5")]
    assert cloud.values("temperature", "celsius_count") == [(START, "6i"), (START + 60_000, "6i")]
    assert {fields for fields in cloud.points.values() if "celsius=" in fields} == set(), "raw readings were written"
