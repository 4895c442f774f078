"""Whose clock is wrong, the gateway's or a node's: as logic with passed clocks, and as a real gateway whose clock a test sets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

import pytest
from gateway.gateway_process import GatewayProcess
from gateway.packs import pack, temperature
from gateway.shifted_clock import DAY_MS, HOUR_MS, SYNCHRONISED, ShiftedClock, compiled
from gateway.stand_in_cloud import StandInCloud, wait_until
from gateway.udp_node import UdpNode
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.nodes.own_clock import AGREE_MS, CLAIM_MS, GRACE_MS, SINCE_MS, UNTIL_MS, OwnClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_790_000_000_000
NODES = ("a", "b", "c", "d", "e")
LIMIT_S = 60.0


class Plant:
    """Nodes around a clock, and who of them had a pack taken."""

    def __init__(self, noted_ms: int = 0, *, trusted: bool = False) -> None:
        self.in_time: set[str] = set()
        self.clock = OwnClock(self._others, noted_ms, trusted=trusted)
        self.now_ms, self.monotonic_ms = NOW, 5_000

    def _others(self, without: Container[str], most: int) -> int:
        return min(most, sum(node not in without for node in self.in_time))

    def look(self, passed_ms: int = 0, set_ms: int = 0, *, synchronised: bool = False) -> Plant:
        self.now_ms += passed_ms + set_ms
        self.monotonic_ms += passed_ms
        self.clock.look(self.now_ms, self.monotonic_ms, synchronised=synchronised)
        return self

    def says(self, node: str, ahead_ms: int, *, votes: bool = True) -> bool:
        """Whether a pack waits whose newest reading is so far ahead."""
        return self.clock.holds(node, self.now_ms + ahead_ms, self.now_ms, votes=votes)


# --- the judgement --------------------------------------------------------------------------------------------------
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("in time"), st.sampled_from(NODES)),
        st.tuples(
            st.just("ahead"), st.sampled_from(NODES),
            st.sampled_from([DAY_MS, DAY_MS + 1, 3 * DAY_MS, 9 * DAY_MS, 300 * DAY_MS, UNTIL_MS - NOW + DAY_MS]), st.booleans(),
        ),
        st.tuples(st.just("pass"), st.sampled_from([1_000, CLAIM_MS // 2, CLAIM_MS + 1, GRACE_MS]), st.booleans()),
        st.tuples(st.just("set"), st.sampled_from([-3 * DAY_MS, -DAY_MS, HOUR_MS, 2 * DAY_MS, 20 * DAY_MS])),
    ),
    max_size=40,
)  # fmt: skip


@settings(deadline=None)
@given(steps=STEPS, trusted=st.booleans(), noted_ms=st.sampled_from([0, NOW - DAY_MS, NOW + DAY_MS, NOW + DAY_MS + 1]))
def test_counting_by_and_by_is_counting_anew(steps: list[tuple[object, ...]], noted_ms: int, *, trusted: bool) -> None:
    """Against a reference that knows all that was said and counts it anew each time."""
    plant = Plant(noted_ms, trusted=trusted).look()
    claims: dict[str, tuple[int, int]] = {}
    synchronised = set_back = False
    started_ms = plant.monotonic_ms

    def outvoted(claim_ms: int) -> bool:
        votes = sum(abs(said // AGREE_MS - claim_ms // AGREE_MS) <= 1 for said, _ in claims.values())
        alone = votes == 1 and plant.monotonic_ms - started_ms > GRACE_MS
        return votes > len(plant.in_time - claims.keys()) and not alone

    for kind, *rest in steps:
        if kind == "in time":
            plant.in_time.add(str(rest[0]))
            continue
        if kind == "ahead":
            node, ahead_ms, votes = str(rest[0]), int(str(rest[1])), bool(rest[2])
            claim_ms = plant.now_ms + ahead_ms
            plausible = ahead_ms > DAY_MS and claim_ms < UNTIL_MS and not (trusted or synchronised or set_back)
            if plausible and votes:
                claims[node] = claim_ms, plant.monotonic_ms
            assert plant.says(node, ahead_ms, votes=votes) == (plausible and outvoted(claim_ms))
        else:
            synchronised = kind == "pass" and bool(rest[1])
            set_ms = int(str(rest[0])) if kind == "set" else 0
            set_back = set_back or set_ms < -DAY_MS
            plant.look(int(str(rest[0])) if kind == "pass" else 0, set_ms, synchronised=synchronised)
            believed = trusted or synchronised or set_back
            claims = {
                node: (said, at)
                for node, (said, at) in claims.items()
                if not believed and said > plant.now_ms + DAY_MS and plant.monotonic_ms - at <= CLAIM_MS
            }
            assert plant.clock.doubted == any(outvoted(said) for said, _ in claims.values())
            assert not (believed and not plant.clock.right)
        assert plant.clock.claims == len(claims)


@settings(deadline=None)
@given(
    behind_ms=st.integers(DAY_MS + 2 * 60_000, 30 * DAY_MS),
    backlog_ms=st.lists(st.integers(0, 59_000), min_size=1, max_size=20),
    minutes=st.integers(0, 59),
)
def test_of_nodes_that_ran_on_nothing_is_dropped_until_the_clock_is_set(
    behind_ms: int, backlog_ms: list[int], minutes: int
) -> None:
    """Whatever the order: none of them says anything that is in time."""
    plant = Plant().look(-behind_ms)
    for _ in range(minutes):
        for number, age_ms in enumerate(backlog_ms):
            assert plant.says(f"n{number}", behind_ms - age_ms)
        assert not plant.look(60_000).clock.right
    assert plant.look(set_ms=behind_ms).clock.right
    assert plant.clock.claims == 0
    assert not any(plant.says(f"n{number}", -age_ms) for number, age_ms in enumerate(backlog_ms))


@settings(deadline=None)
@given(wrong=st.integers(1, 4), ahead_ms=st.integers(DAY_MS + 1, 300 * DAY_MS), looks=st.integers(0, 30))
def test_wrong_nodes_among_as_many_right_ones_never_wait(wrong: int, ahead_ms: int, looks: int) -> None:
    plant = Plant().look()
    plant.in_time = {f"right-{number}" for number in range(wrong)}
    for _ in range(looks + 1):
        assert not any(plant.says(f"wrong-{number}", ahead_ms) for number in range(wrong))
        assert plant.look(1_000).clock.right


def test_a_single_node_is_given_an_hour_and_two_that_agree_as_long_as_they_say_so() -> None:
    plant = Plant().look()
    assert plant.says("a", 3 * DAY_MS)
    plant.look(GRACE_MS + 1)
    assert not plant.says("a", 3 * DAY_MS)
    assert plant.clock.right
    assert plant.says("b", 4 * DAY_MS)
    assert plant.says("a", 3 * DAY_MS)
    assert not plant.look(CLAIM_MS).clock.right
    assert plant.look(1).clock.right, "they have not said it again"


def test_nodes_that_contradict_each_other_are_not_more_than_one() -> None:
    plant = Plant().look()
    plant.look(GRACE_MS + 1)
    assert not any(plant.says(node, days * DAY_MS) for node, days in (("a", 3), ("b", 40), ("c", 90)))


def test_what_was_noted_has_passed_and_a_wrong_clock_notes_nothing() -> None:
    plant = Plant(NOW + 10 * DAY_MS).look()
    assert plant.clock.behind
    plant.look(HOUR_MS)
    assert (plant.clock.behind, plant.clock.noted_ms) == (True, NOW + 10 * DAY_MS)
    plant.look(set_ms=10 * DAY_MS)
    assert (plant.clock.behind, plant.clock.noted_ms) == (False, plant.now_ms)


def test_a_note_from_a_clock_that_was_ahead_is_overruled() -> None:
    """By a time server, by a person who sets the clock while the gateway runs, and by one who says so in gateway.toml."""
    wrong = NOW + 900 * DAY_MS
    plant = Plant(wrong).look()
    assert plant.clock.behind
    plant.look(1_000, synchronised=True)
    assert (plant.clock.right, plant.clock.noted_ms) == (True, plant.now_ms)
    assert plant.look(1_000).clock.right, "and noted for the time when the server is away"
    assert Plant(wrong, trusted=True).look().clock.right
    ahead = Plant()
    ahead.now_ms = wrong
    ahead.look().look(set_ms=-900 * DAY_MS)
    assert (ahead.clock.right, ahead.clock.noted_ms) == (True, NOW)
    assert not ahead.says("a", 900 * DAY_MS), "the nodes still have the time from before"


@pytest.mark.parametrize("believed", [True, False])
def test_before_2025_nobody_is_believed(*, believed: bool) -> None:
    plant = Plant(trusted=believed)
    plant.now_ms = SINCE_MS - 1
    assert plant.look(synchronised=believed).clock.behind
    assert plant.clock.noted_ms == 0
    assert plant.look(1).clock.right


# --- the running gateway --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("clock"))


Start = Callable[..., GatewayProcess]


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> ShiftedClock:
    return ShiftedClock(library, tmp_path)


@pytest.fixture
def make(clock: ShiftedClock, cloud: StandInCloud, tmp_path: Path) -> Iterator[Start]:
    made: list[GatewayProcess] = []

    def build_gateway(**ways: object) -> GatewayProcess:
        made.append(GatewayProcess(tmp_path, cloud.url, **ways))  # type: ignore[arg-type]  # which of them is the test's choice
        made[-1].environment = clock.environment
        return made[-1]

    yield build_gateway
    for process in made:
        process.kill()


def real_ms() -> int:
    return time.time_ns() // 1_000_000


def absolute(node: str, seq: int, time_ms: int) -> bytes:
    return pack(node, 1, seq, temperature(20.0 + seq), base_ms=time_ms)


def is_right(gateway: GatewayProcess) -> bool:
    return bool(json.loads(gateway.get("/healthz"))["clock"])


WAYS: dict[str, dict[str, object]] = {"fast path": {}, "aiocoap": {"fast_path": False}, "workers": {"workers": 2}}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
def test_a_clock_that_lost_days_loses_no_reading_and_a_node_that_is_wrong_waits_for_nothing(
    way: str, make: Start, clock: ShiftedClock, cloud: StandInCloud
) -> None:
    """Nodes run on with the right time while the gateway starts with an old one, and nothing is on its disk."""
    cloud.mount("press-7", "oven-1")
    clock.set(-3 * DAY_MS)
    gateway = make(**WAYS[way]).start()
    first_ms = real_ms()
    with UdpNode(gateway.coap_port) as press, UdpNode(gateway.coap_port) as oven:
        assert press.ask_time(LIMIT_S) == (2, 5), "nothing speaks against it yet"
        for seq in range(3):
            assert press.post(absolute("press-7", seq, first_ms + seq), LIMIT_S) == (5, 3)
            assert oven.post(absolute("oven-1", seq, first_ms + seq), LIMIT_S) == (5, 3)
        assert press.ask_time(LIMIT_S) == (5, 3)
        assert not is_right(gateway)
        assert (gateway.metric("clock_right"), gateway.metric("clock_claims")) == (0, 2)
        assert 'postponed_packs_total{reason="clock"} 6.0' in gateway.get("/metrics")
        assert "gateway_rejected_records_total{" not in gateway.get("/metrics")
        wait_until(lambda: "clock is probably behind" in gateway.log.read_text(), "the log to tell")
        clock.set(0)
        for seq in range(3):
            assert press.post(absolute("press-7", seq, first_ms + seq), LIMIT_S) == (2, 4)
            assert oven.post(absolute("oven-1", seq, first_ms + seq), LIMIT_S) == (2, 4)
        wait_until(lambda: is_right(gateway), "the clock to be believed again")
        assert press.ask_time(LIMIT_S) == (2, 5)
        assert press.post(absolute("press-7", 9, real_ms() + 3 * DAY_MS), LIMIT_S) == (2, 4), "now it is the node"
        assert 'rejected_records_total{reason="time"} 1.0' in gateway.get("/metrics")
    wait_until(lambda: len(cloud.values("temperature", "celsius")) == 6, "all readings")
    assert {at for at, _ in cloud.values("temperature", "celsius")} == {first_ms + seq for seq in range(3)}


@pytest.mark.timeout(300)
def test_a_clock_before_what_the_disk_knows_dates_nothing_whatever_the_restarts(
    make: Start, clock: ShiftedClock, cloud: StandInCloud
) -> None:
    cloud.mount("press-7")
    gateway = make(workers=2).start()
    with UdpNode(gateway.coap_port) as node:
        assert node.post(pack("press-7", 1, 0, temperature(20.0)), LIMIT_S) == (2, 4)
        for off_ms in (-10 * DAY_MS, -real_ms()):  # an old time, and 1970
            gateway.kill()
            clock.set(off_ms)
            gateway.start()
            assert node.post(pack("press-7", 1, 1, temperature(21.0)), LIMIT_S) == (5, 3)
            assert node.ask_time(LIMIT_S) == (5, 3)
            assert not is_right(gateway)
        assert "this gateway's clock is wrong" in gateway.log.read_text()
        clock.set(-HOUR_MS)  # that is a matter between it and its operator
        wait_until(lambda: node.post(pack("press-7", 1, 1, temperature(21.0)), LIMIT_S) == (2, 4), "to be taken")
        assert is_right(gateway)
    wait_until(lambda: len(cloud.values("temperature", "celsius")) == 2, "both readings")
    assert all(at > real_ms() - DAY_MS for at, _ in cloud.values("temperature", "celsius"))


@pytest.mark.timeout(300)
def test_a_clock_that_somebody_vouches_for_is_not_doubted(make: Start, clock: ShiftedClock) -> None:
    """A time server, and a person; what the disk and a node say counts for nothing then."""
    gateway = make().start()
    gateway.kill()
    clock.set(-10 * DAY_MS)
    gateway.gateway_section = "trust_clock = true\n"
    gateway.start()
    with UdpNode(gateway.coap_port) as node:
        assert node.post(absolute("oven-1", 0, real_ms()), LIMIT_S) == (2, 4)
        assert is_right(gateway)
        gateway.kill()
        clock.set(-20 * DAY_MS)
        gateway.gateway_section = ""
        gateway.start()
        assert node.post(absolute("oven-1", 1, real_ms()), LIMIT_S) == (5, 3), "the person's word was for that run"
        clock.set(-20 * DAY_MS, SYNCHRONISED)
        wait_until(lambda: node.post(absolute("oven-1", 1, real_ms()), LIMIT_S) == (2, 4), "to be believed")
    assert is_right(gateway)
    assert gateway.metric("clock_synchronised") == 1
    assert 'rejected_records_total{reason="time"} 1.0' in gateway.get("/metrics")
