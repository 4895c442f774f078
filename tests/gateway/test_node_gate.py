"""Rate, number and clock of nodes, as logic with a passed clock and with real datagrams."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from gateway.gateway_process import GatewayProcess
from gateway.packs import pack, temperature
from gateway.stand_in_cloud import StandInCloud, influx_error, wait_until
from gateway.udp_node import UdpNode
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.cli import main
from andon_gateway.nodes.clock import PACKS, ClockWatch
from andon_gateway.nodes.gate import UNKNOWN_SILENT_MS, GateLimits, NodeGate
from andon_gateway.nodes.table import Address, NodeTable
from andon_gateway.senml.columns import Columns, Form
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.uplink.assets import AssetsEvent, AssetTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_764_000_000_000
PLACE = {"site": "demo", "area": "a1", "line": "l1", "machine": "m1"}


class Gate:
    def __init__(self, folder: Path, limits: GateLimits, known: tuple[str, ...] = ()) -> None:
        self.database = GroupCommit(folder / "gate.sqlite3", lambda call: call())
        self.database.start()
        reader = open_reader(self.database.path)
        self.nodes, assets = NodeTable(self.database, reader), AssetTable(self.database, reader)
        reader.close()
        assets.replace(AssetsEvent.model_validate({"version": 1, "nodes": dict.fromkeys(known, PLACE)})).result(60)
        self.forgotten: list[str] = []
        self.gate = NodeGate(limits, self.nodes, assets, self.forgotten.append)


Make = Callable[..., Gate]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Gate] = []

    def build(limits: GateLimits, known: tuple[str, ...] = ()) -> Gate:
        made.append(Gate(tmp_path, limits, known))
        return made[-1]

    yield build
    for item in made:
        item.database.close()


def test_a_node_gets_its_burst_then_its_rate(make: Make) -> None:
    gate = make(GateLimits(packs_per_s=10, burst=5)).gate
    gate.admit("a", NOW)
    gate.admit("b", NOW)
    assert [gate.wait_s("a", NOW) == 0 for _ in range(7)] == [True] * 5 + [False] * 2
    assert gate.wait_s("b", NOW) == 0, "one node's rate is another's"
    assert [gate.wait_s("a", NOW + 200) == 0 for _ in range(3)] == [True, True, False]
    assert gate.records["a"].rate_limited == 3


@pytest.mark.parametrize("short", [True, False], ids=["short way", "long way"])
def test_a_clock_that_is_set_back_takes_no_node_its_rate(make: Make, *, short: bool) -> None:
    """A gateway that came up an hour ahead, until a time server was reached."""
    gate = make(GateLimits(packs_per_s=10, burst=5), known=("a",)).gate
    gate.admit("a", NOW + 3_600_000)
    address = Address("127.0.0.1", 1)

    def sent(seq: int, now_ms: int) -> bool:
        columns = Columns.of(Form(("temperature/0",), "d", ()), [now_ms], [20.0])
        pack = Pack("a", 1, seq, columns=columns)
        taken = gate.passes(pack, now_ms) if short else gate.wait_s("a", now_ms) == 0
        if taken:
            gate.took([pack], [address], [True], now_ms)
        return taken

    assert all(sent(seq, NOW + 3_600_000) for seq in range(5))
    assert not sent(5, NOW + 3_600_000), "the burst is used up"
    taken = [sent(10 + second, NOW + second * 1000) for second in range(60)]
    assert taken.count(False) <= 1
    assert gate.records["a"].last_ms == NOW + 59_000


def test_the_number_of_ids_is_bounded_and_known_nodes_always_get_in(make: Make) -> None:
    built = make(GateLimits(most=3, most_unknown=2), ("k1", "k2", "k3", "k4"))
    gate = built.gate
    assert [gate.admit(node, NOW) for node in ("x", "y", "z", "x")] == [
        "admitted", "admitted", "too-many-unknown-nodes", "admitted",
    ]  # fmt: skip
    assert [gate.admit(node, NOW) for node in ("k1", "k2", "k3", "k4")] == ["admitted"] * 3 + ["too-many-nodes"]
    assert list(gate.unknown()) == ["x", "y"]
    later = NOW + UNKNOWN_SILENT_MS
    gate.wait_s("y", later)
    assert gate.admit("z", later) == "admitted", "a stranger silent for long makes room"
    assert built.forgotten == ["x"]
    assert len(gate.records) == 5


def test_strangers_have_no_say_about_the_gateways_clock_once_the_cloud_has_named_its_nodes(make: Make) -> None:
    def heard(gate: NodeGate) -> None:
        for node in ("k1", "k2", "x", "y"):
            gate.admit(node, NOW)
            gate.took([Pack(node, 1, 0)], [Address("::1", 1)], [node != "k2"], NOW)

    nobody = make(GateLimits()).gate
    heard(nobody)
    assert all(nobody.votes(node) for node in ("k1", "x"))
    assert (nobody.others_in_time((), 99), nobody.others_in_time({"x"}, 99), nobody.others_in_time((), 2)) == (3, 2, 2)
    known = make(GateLimits(), ("k1", "k2")).gate
    heard(known)
    assert [known.votes(node) for node in ("k1", "k2", "x")] == [True, True, False]
    assert known.others_in_time((), 99) == 1, "a duplicate may be older than the start"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    built = Gate(tmp_path_factory.mktemp("quiet"), GateLimits(), ("a",))
    yield built
    built.database.close()


def column_pack(node: str, seq: int, newest_ms: int) -> Pack:
    """As the decoder of shapes makes them."""
    form = Form(("temperature/0",), "d", ())
    return Pack(node, 1, seq, None, None, (), Columns.of(form, [newest_ms], [1.5]))


ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([0, 0, 1, 40, 100, 900, 2_500, -50]),
        st.sampled_from([0, 0, 0, 100, 5_000, 5_001, 9_000, -5_000, -5_001, -20_000]),
        st.booleans(),
    ),
    max_size=80,
)


@settings(deadline=None)  # a busy machine is no failure
@given(arrivals=ARRIVALS, rate=st.sampled_from([0.0, 0.5, 10.0]), burst=st.sampled_from([1, 3, 1000]))
def test_the_short_way_is_the_long_way(
    quiet: Gate, arrivals: list[tuple[str, int, int, bool]], rate: float, burst: int
) -> None:
    """`passes` and, where it says no, the three questions: the same as the three questions alone, in answers, records and readings."""
    limits = GateLimits(packs_per_s=rate, burst=burst)
    short, long = (NodeGate(limits, quiet.nodes, quiet.gate._assets, lambda _node: None) for _ in range(2))
    now_ms = NOW
    for seq, (node, later_ms, ahead_ms, single) in enumerate(arrivals):
        now_ms += later_ms
        answers = []
        for gate in (short, long):
            pack = column_pack(node, seq, now_ms + ahead_ms)
            if single:
                assert pack.readings  # no columns any more
            wait_s = 0
            if gate is long or not gate.passes(pack, now_ms):
                assert gate.admit(node, now_ms) == "admitted"
                wait_s = gate.wait_s(node, now_ms)
                if not wait_s:
                    gate.check_clock(pack, now_ms)
            if not wait_s:
                gate.took([pack], [Address("::1", 1)], [True], now_ms)
            answers.append((wait_s, pack.readings))
        assert answers[0] == answers[1]
        assert short.records == long.records


# --- clock ---------------------------------------------------------------------------------------------------------
def watch(offsets: list[tuple[int, int]], limit: int = 5000) -> list[int | None]:
    clock = ClockWatch()
    return [clock.offset_ms(NOW + at + offset, NOW + at, limit) for at, offset in offsets]


def test_a_clock_that_is_ahead_is_seen_at_once() -> None:
    assert watch([(0, 60_000)]) == [60_000]


def test_a_clock_that_is_behind_is_seen_after_some_packs() -> None:
    found = watch([(1000 * number, -60_000 - number % 3) for number in range(20)])
    assert found[: PACKS - 1] == [None] * (PACKS - 1)
    assert found[-1] == -60_000


@settings(deadline=None)
@given(st.integers(6_000, 3_600_000), st.floats(1.5, 50))
def test_a_backlog_is_not_a_wrong_clock(age_ms: int, speed: float) -> None:
    """A node that was cut off and now sends what it kept, faster than time passes."""
    sent = [
        (round(1000 * number / speed), min(0, -age_ms + round(1000 * number * (1 - 1 / speed))))
        for number in range(400)
    ]
    assert all(not offset for offset in watch(sent))


@settings(deadline=None)
@given(st.lists(st.integers(-4_999, 0), min_size=1, max_size=60))
def test_a_right_clock_is_never_flagged(offsets: list[int]) -> None:
    assert set(watch([(1000 * number, offset) for number, offset in enumerate(offsets)])) == {0}


def test_a_wrong_clock_is_told_once_a_minute_and_when_it_is_right_again(make: Make) -> None:
    gate = make(GateLimits()).gate
    gate.admit("a", NOW)
    told = []
    for seq, (at, ahead) in enumerate([(0, 9000), (1000, 9000), (61_000, 8000), (62_000, 0), (63_000, 0)]):
        item = Pack("a", 1, seq, [Reading("temperature/0", NOW + at + ahead, 1.0)])
        gate.check_clock(item, NOW + at)
        told.append([(reading.time_ms - NOW, reading.value) for reading in item.readings[1:]])
    assert told == [[(0, 9000)], [], [(61_000, 8000)], [(62_000, 0)], []]
    assert gate.records["a"].clock_off_packs == 3


# --- the running gateway -------------------------------------------------------------------------------------------
@pytest.fixture
def strict(tmp_path: Path, cloud: StandInCloud) -> Iterator[GatewayProcess]:
    extra = "[nodes]\npacks_per_s = 1\nburst = 3\nmost_unknown = 1\n"
    process = GatewayProcess(tmp_path, cloud.url, extra)
    yield process
    process.kill()


def test_too_fast_is_answered_4_29_and_one_unknown_node_too_many_5_03(
    strict: GatewayProcess, cloud: StandInCloud
) -> None:
    cloud.mount("press-7")
    strict.start()
    wait_until(lambda: cloud.streams, "the stream")
    with UdpNode(strict.coap_port) as node:
        codes = [node.post(pack("press-7", 1, seq, temperature(1.0)), limit_s=60) for seq in range(6)]
        assert codes[:3] == [(2, 4)] * 3
        assert (4, 29) in codes
        assert node.post(pack("x", 1, 0, temperature(1.0)), limit_s=60) == (2, 4)
        assert node.post(pack("y", 1, 0, temperature(1.0)), limit_s=60) == (5, 3)
    assert 'postponed_packs_total{reason="rate"}' in strict.get("/metrics")


def test_a_wrong_clock_becomes_a_field_of_the_node(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    cloud.mount("press-7")
    gateway.start()
    ahead = time.time_ns() // 1_000_000 + 3_600_000
    with UdpNode(gateway.coap_port) as node:
        assert node.post(pack("press-7", 1, 0, temperature(1.0), base_ms=ahead), limit_s=60) == (2, 4)
    wait_until(lambda: cloud.values("node", "clock_offset_ms"), "the offset")
    ((_, offset),) = cloud.values("node", "clock_offset_ms")
    assert 3_590_000 < int(offset.rstrip("i")) <= 3_600_000
    assert gateway.metric("nodes_clock_off") == 1


def test_unknown_nodes_are_told_to_the_cloud_and_their_packs_go_after_adoption(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    cloud.mount("press-7")
    gateway.start()
    wait_until(lambda: cloud.streams, "the stream")
    with UdpNode(gateway.coap_port) as node:
        assert node.post(pack("press-7", 1, 0, temperature(1.0)), limit_s=60) == (2, 4)
        for seq in range(3):
            assert node.post(pack("stranger", 1, seq, temperature(seq, offset_ms=-60_000 * seq)), limit_s=60) == (2, 4)
    wait_until(lambda: any(item["nodes"] for item in cloud.quarantine), "the report")
    (told,) = cloud.quarantine[-1]["nodes"]
    assert told["node"] == "stranger"
    assert 1 <= told["packs"] <= 3, "the report may have been made between two packs"
    assert told["address"].startswith("coap://127.0.0.1:")
    cloud.mount("press-7", "stranger")
    wait_until(lambda: len(cloud.values("temperature", "celsius")) == 4, "the packs of the adopted node")
    wait_until(lambda: cloud.quarantine[-1]["nodes"] == [], "the end of the report")
    assert gateway.metric("quarantine_packs") == 0


def test_dead_letters_are_listed_replayed_and_purged_beside_the_running_gateway(
    gateway: GatewayProcess, cloud: StandInCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.rule = lambda lines: (
        influx_error(400, "invalid", "no such field") if any("=13.0" in line for line in lines) else None
    )
    cloud.mount("press-7")
    gateway.start()
    with UdpNode(gateway.coap_port) as node:
        for seq, celsius in enumerate((12.0, 13.0, 14.0)):
            assert node.post(pack("press-7", 1, seq, temperature(celsius, offset_ms=-60_000 * seq)), limit_s=60) == (
                2,
                4,
            )
    wait_until(lambda: gateway.metric("dead_letters_kept") == 1, "the dead letter")

    def letters(action: str) -> str:
        assert main(["dead-letters", action, "--config", str(gateway.config)]) == 0
        return capsys.readouterr().out

    letter = json.loads(letters("list"))
    assert "celsius=13.0" in letter["line"]
    assert letter["reason"] == "400 no such field"
    assert letters("replay") == "1 dead letters handed to the uplink again\n"
    wait_until(lambda: gateway.metric("dead_letters_kept") == 1, "refused again, it comes back")
    cloud.rule = None
    letters("replay")
    wait_until(lambda: len(cloud.values("temperature", "celsius")) == 3, "the letter at the cloud")
    assert letters("list") == ""
    with sqlite3.connect(gateway.database) as connection:
        connection.execute("INSERT INTO dead_letter (at_ms, line, reason) VALUES (1, 'x', 'y')")
    connection.close()
    assert letters("purge") == "1 dead letters deleted\n"
    assert letters("list") == ""


def test_dead_letters_without_a_database_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\nid = "g"\nstate_dir = "{tmp_path}/none"\n[cloud]\nurl = "http://127.0.0.1:1"\n')
    assert main(["dead-letters", "list", "--config", str(config)]) == 2
    assert "has not run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_dead_letters_on_a_disk_that_takes_no_change_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[gateway]\nid = "g"\nstate_dir = "{tmp_path}"\n[cloud]\nurl = "http://127.0.0.1:1"\n')
    path = tmp_path / "gateway.sqlite3"
    database = GroupCommit(path, lambda call: call())
    database.start()
    database.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE DELETE ON dead_letter BEGIN SELECT raise(FAIL, 'disk is full'); END"
        )
        connection.execute("INSERT INTO dead_letter (at_ms, line, reason) VALUES (1, 'x', 'y')")
    connection.close()
    assert main(["dead-letters", "replay", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nothing was changed (disk is full)" in error
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM resend").fetchone() == (0,), "replay is whole or not at all"
    connection.close()


def test_the_address_of_a_node_tells_who_sent_what_cannot_be_decoded(make: Make) -> None:
    built = make(GateLimits())
    address, elsewhere = Address("127.0.0.1", 1), Address("127.0.0.1", 2)
    for node in ("a", "b"):
        built.gate.admit(node, NOW)
    saved = threading.Event()
    built.nodes.register("a", address, 60, NOW, lambda _result, _error: saved.set())
    assert saved.wait(60)
    built.gate.refused(address, None)
    built.gate.refused(elsewhere, None)
    built.gate.refused(elsewhere, "b")
    assert [built.gate.records[node].refused_packs for node in ("a", "b")] == [1, 1]


def test_registrations_have_no_way_around_the_number_of_ids(make: Make) -> None:
    built = make(GateLimits(most_unknown=1))
    answers: list[bool] = []
    for node in ("x", "y", "x"):
        built.nodes.register(
            node, Address("127.0.0.1", 1), 60, NOW, lambda _result, error: answers.append(error is None)
        )
        known = len(answers)
    wait_until(lambda: len(answers) == 3, "three answers")
    assert sorted(answers) == [False, True, True]
    assert known >= 1, "the refusal waits for no disk"
    assert built.nodes.get("y") is None
