"""The spool on a real disk: exactly once, across restarts, kills and a full disk."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from gateway.packs import cycles, pack, temperature
from gateway.stand_in_cloud import StandInCloud, wait_until
from gateway.udp_node import UdpNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.errors import GatewayError, StorageUnavailable
from andon_gateway.nodes.gate import GateLimits, NodeGate
from andon_gateway.nodes.table import Address, NodeTable
from andon_gateway.security.access import AccessPolicy
from andon_gateway.security.oscore_keys import KeyRing
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool import database as database_module
from andon_gateway.spool import taken as taken_module
from andon_gateway.spool.database import CommitLimits, GroupCommit, open_database, open_reader
from andon_gateway.spool.intake import Answer, Outcome, TelemetryIntake
from andon_gateway.spool.spool import DeadLetter, Spool, read_after
from andon_gateway.uplink.assets import AssetTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.gateway_process import GatewayProcess

NOW = 1_764_000_000_000
SOURCE = Address("127.0.0.1", 5683)


class OpenSpool:
    """A spool with its writer thread; callbacks run in that thread."""

    def __init__(self, path: Path, limits: CommitLimits | None = None) -> None:
        self.database = GroupCommit(path, lambda call: call(), limits)
        self.spool = Spool(self.database)
        self.database.start()

    def append(self, *packs: Pack) -> list[bool | None]:
        """Whether each pack was new; None when the disk did not take it."""
        results: list[bool | None] = [None] * len(packs)
        left = threading.Semaphore(0)
        for index, item in enumerate(packs):

            def done(new: object, _error: StorageUnavailable | None, index: int = index) -> None:
                results[index] = None if new is None else bool(new)
                left.release()

            self.spool.append(item, NOW, done)
        for _ in packs:
            assert left.acquire(timeout=60)
        return results

    def rows(self) -> list[Any]:
        reader = open_reader(self.database.path)
        try:
            return [(row.node, row.boot, row.readings) for row in read_after(reader, 0, 10_000)]
        finally:
            reader.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], OpenSpool]]:
    """Opens the same spool again and again, closing the one before: a restart."""
    current: list[OpenSpool] = []

    def open_again() -> OpenSpool:
        if current:
            current.pop().database.close()
        current.append(OpenSpool(tmp_path / "spool.sqlite3"))
        return current[0]

    yield open_again
    for spool in current:
        spool.database.close()


def reading(value: float, name: str = "temperature/0", at: int = NOW) -> Reading:
    return Reading(name, at, value)


def test_a_pack_is_taken_once_also_across_restarts(opened: Callable[[], OpenSpool]) -> None:
    first = Pack("a", 1, 0, [reading(1.0)])
    assert opened().append(first, Pack("a", 1, 1, [reading(2.0)]), first) == [True, True, False]
    spool = opened()
    assert spool.append(first, Pack("a", 2, 0, [reading(3.0)]), Pack("b", 1, 0, [reading(4.0)])) == [False, True, True]
    assert [row[2][0][2] for row in spool.rows()] == [1.0, 2.0, 3.0, 4.0]


def test_energy_is_carried_on_across_boots_as_cycles_are(opened: Callable[[], OpenSpool]) -> None:
    opened().append(Pack("a", 1, 0, [reading(7200, "energy/0", 10), reading(1e9, "meter/0", 10)]))
    spool = opened()
    spool.append(Pack("a", 2, 0, [reading(3600, "energy/0", 20), reading(1e9, "meter/0", 20)]))
    points = [point for row in spool.rows() for point in row[2]]
    # The meter's own register outlives the node and is not added up.
    assert [point[2] for point in points if point[0] == "energy/0"] == [7200, 10800]
    assert [point[2] for point in points if point[0] == "meter/0"] == [1e9, 1e9]


def test_totals_survive_a_restart(opened: Callable[[], OpenSpool]) -> None:
    opened().append(Pack("a", 1, 0, [reading(100, "cycles/0", 10)]))
    opened().append(Pack("a", 2, 0, [reading(5, "cycles/0", 20)]))
    spool = opened()
    spool.append(Pack("a", 1, 1, [reading(110, "cycles/0", 12)]))
    assert [point for row in spool.rows() for point in row[2]] == [
        ["cycles/0", 10, 100],
        ["cycles/0", 20, 105],
        ["cycles/0", 12, 105],
        ["cycles/0", 20, 115],
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 99)), max_size=20), data=st.data())
def test_counters_are_the_sum_of_maxima_of_the_packs_taken(
    tmp_path: Path, sent: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    path = tmp_path / f"{time.monotonic_ns()}.sqlite3"
    taken: dict[tuple[int, int], int] = {}
    spool = OpenSpool(path)
    for number, (boot, seq, raw) in enumerate(sent):
        if data.draw(st.booleans()):
            spool.database.close()
            spool = OpenSpool(path)
        (new,) = spool.append(Pack("a", boot, seq, [reading(raw, "cycles/0", number)]))
        assert new == ((boot, seq) not in taken)
        taken.setdefault((boot, seq), raw)
    expected = sum(max(raw for (b, _), raw in taken.items() if b == boot) for boot in {b for b, _ in taken})
    points = {at: total for _, _, readings in spool.rows() for _, at, total in readings}
    spool.database.close()
    assert (points[max(points)] if points else 0) == expected


def test_many_boots_stay_bounded_and_old_ones_count_as_known(
    opened: Callable[[], OpenSpool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken_module, "MAX_BOOTS", 4)
    spool = opened()
    for boot in range(10):
        assert spool.append(Pack("a", boot, 0, [reading(1.0)])) == [True]
    spool = opened()
    assert spool.append(Pack("a", 2, 7, [reading(1.0)]), Pack("a", 9, 0, [])) == [False, False]
    assert spool.append(Pack("a", 8, 1, [reading(1.0)])) == [True]
    (kept,) = spool.database.run(lambda c: c.execute("SELECT count(*) FROM identity").fetchone()).result(60)
    assert kept == 4


def test_a_full_disk_answers_try_again_and_recovers(
    opened: Callable[[], OpenSpool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own page limit stands for the disk's end: the same SQLITE_FULL."""
    monkeypatch.setattr(database_module, "FAILURE_PAUSE_S", 0.01)
    spool = opened()
    reader = open_reader(spool.database.path)
    access = AccessPolicy(KeyRing(spool.database, reader), "*")
    nodes = NodeTable(spool.database, reader)
    gate = NodeGate(GateLimits(), nodes, AssetTable(spool.database, reader), spool.spool.forget_node)
    intake = TelemetryIntake(spool.spool, nodes, access, gate)
    (pages,) = spool.database.run(lambda c: c.execute("PRAGMA page_count").fetchone()).result(60)
    spool.database.run(lambda c: c.execute(f"PRAGMA max_page_count={pages + 2}")).result(60)

    def post(seq: int) -> Outcome:
        outcomes: list[Outcome] = []
        payload = pack("a", 1, seq, *[temperature(1.5, 0, offset) for offset in range(20)], base_ms=NOW)
        intake.receive(payload, 112, SOURCE, NOW, outcomes.append)
        wait_until(lambda: outcomes, "an outcome")
        return outcomes[0]

    answers = [post(seq) for seq in range(60)]
    refused = [seq for seq, outcome in enumerate(answers) if outcome.answer is Answer.SERVICE_UNAVAILABLE]
    assert refused
    assert all(answers[seq].max_age_s and answers[seq].diagnostic for seq in refused)
    assert [spool.database.healthy] == [False]

    spool.database.run(lambda c: c.execute("PRAGMA max_page_count=1000000")).exception(5)
    assert post(refused[0]).answer is Answer.CHANGED, "the refused pack is not taken afterwards"
    assert post(0).answer is Answer.CHANGED
    assert [spool.database.healthy] == [True]
    assert len(spool.rows()) == 60 - len(refused) + 1


def test_nothing_of_a_failed_group_stays(opened: Callable[[], OpenSpool]) -> None:
    spool = opened()

    def explode(_connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    spool.database.before_commit.append(explode)
    assert spool.append(Pack("a", 1, 0, [reading(7, "cycles/0")])) == [None]
    spool.database.before_commit.remove(explode)
    assert spool.append(Pack("a", 1, 0, [reading(7, "cycles/0")])) == [True]
    assert [row[2][0][2] for row in spool.rows()] == [7]


def test_a_waiter_that_was_cancelled_does_not_stop_the_writer(tmp_path: Path) -> None:
    database = GroupCommit(tmp_path / "c.sqlite3", lambda call: call())
    waiting = database.run(lambda _c: None)
    assert waiting.cancel()
    database.start()
    assert database.run(lambda _c: 7).result(60) == 7
    database.close()


def test_a_full_queue_turns_away_at_once(tmp_path: Path) -> None:
    database = GroupCommit(tmp_path / "q.sqlite3", lambda call: call(), CommitLimits(most_waiting=1))
    outcomes: list[str] = []
    database.submit(lambda _c: None, lambda _r, error: outcomes.append(f"first {error is None}"))
    database.submit(lambda _c: None, lambda _r, error: outcomes.append(f"second {error is None}"))
    assert outcomes == ["second False"]
    database.start()
    database.close()
    assert outcomes == ["second False", "first True"]


def test_dead_letters_are_kept_with_their_reason(opened: Callable[[], OpenSpool]) -> None:
    spool = opened()
    spool.append(Pack("a", 1, 0, [reading(1.0)]))
    spool.spool.remove([1], [DeadLetter("bad line", "400 unable to parse")])
    assert spool.rows() == []
    found = spool.database.run(lambda c: c.execute("SELECT line, reason FROM dead_letter").fetchall()).result(60)
    assert found == [("bad line", "400 unable to parse")]


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "newer.sqlite3"
    connection = open_database(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(GatewayError, match="schema 99"):
        open_database(path)


def test_kill_at_random_points_loses_and_doubles_nothing(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    """Every acknowledged pack is at the cloud in the end; the total never doubles; the ports stay the same."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    cuts = dice.sample(range(80), 5)
    cloud.mount("press-7")
    gateway.start()
    acknowledged: set[int] = set()
    with UdpNode(gateway.coap_port) as node:
        for seq in range(80):
            payload = pack("press-7", 1 + seq // 20, seq % 20, temperature(seq), cycles(seq % 20), base_ms=NOW + seq)
            killer = threading.Timer(dice.uniform(0, 0.01), gateway.kill) if seq in cuts else None
            if killer:
                killer.start()
            while node.post(payload, limit_s=0.3) != (2, 4):
                if killer:
                    killer.join()
                    killer = None
                    gateway.start()
            acknowledged.add(seq)
            if killer:
                killer.join()
                gateway.start()
    assert len(acknowledged) == 80
    wait_until(lambda: len(cloud.values("temperature", "celsius")) >= 80, f"all packs at the cloud (seed {seed})")
    assert cloud.values("temperature", "celsius") == [(NOW + seq, f"{seq}.0") for seq in range(80)]
    totals = [int(value.rstrip("i")) for _, value in cloud.values("cycles", "total")]
    assert totals == sorted(totals)
    assert totals[-1] == 4 * 19
    wait_until(lambda: gateway.metric("spool_packs") == 0, "an empty spool")
