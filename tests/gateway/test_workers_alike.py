"""A gateway with two workers against one without the fast path: the differential test of test_fast_path.py, once more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from gateway.gateway_process import GatewayProcess
from gateway.stand_in_cloud import StandInCloud, wait_until
from gateway.test_fast_path import OVEN, PRESS, Pair, plain, seal, sealed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(300)  # several processes are started, on a machine that may be busy
RELAXED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    cloud = StandInCloud().start()
    cloud.give_keys(press_7=PRESS, oven_1=OVEN)
    extra = "[nodes]\npacks_per_s = 0\nmost_unknown = 1000\n"
    started = [
        GatewayProcess(tmp_path_factory.mktemp("two"), cloud.url, extra, workers=2).start(),
        GatewayProcess(tmp_path_factory.mktemp("slow"), cloud.url, extra, fast_path=False).start(),
    ]
    both = Pair(*started)
    for process in started:
        wait_until(lambda process=process: process.metric("nodes_with_keys") == 2, "the keys")  # type: ignore[misc]  # a default argument
    both.prove_freshness()
    yield both
    for process in started:
        process.kill()
    cloud.stop()


def assert_counted_alike(pair: Pair) -> None:
    """Workers tell what they refused themselves four times a second."""

    def alike() -> bool:
        two, one = pair.counts()
        return two == one

    wait_until(alike, f"the same counts: {pair.counts()}")


@settings(max_examples=20, deadline=None, suppress_health_check=RELAXED)
@given(datagrams=st.lists(plain(), min_size=1, max_size=4))
def test_requests_in_the_clear_are_answered_alike(pair: Pair, datagrams: list[bytes]) -> None:
    for datagram, (two, one) in zip(datagrams, pair.exchange(datagrams), strict=True):
        assert two == one, datagram.hex()
    assert_counted_alike(pair)


@settings(max_examples=20, deadline=None, suppress_health_check=RELAXED)
@given(items=st.lists(sealed(), min_size=1, max_size=4))
def test_protected_requests_are_answered_alike(pair: Pair, items: list[Any]) -> None:
    datagrams = [seal(pair, item) for item in items]
    for item, (two, one) in zip(items, pair.exchange(datagrams), strict=True):
        assert two == one, item
    assert_counted_alike(pair)


def test_the_workers_have_answered(pair: Pair) -> None:
    """Otherwise the comparisons above say nothing about them."""
    page = pair.gateways[0].get("/metrics")
    ways = {name: float(count) for name, count in re.findall(r'datagrams_total\{way="(\w+)"\} (\S+)', page)}
    assert ways["fast"] > 50
    assert ways["aiocoap"] >= 1
    assert pair.gateways[0].metric("workers_ready") == 2
