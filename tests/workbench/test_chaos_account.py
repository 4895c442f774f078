"""The account must see every kind of loss and of counting twice."""

from __future__ import annotations

import pytest

from andon_workbench.chaos.account import Count, NodeSeries, account_for
from andon_workbench.chaos.pack import Pack
from andon_workbench.reconcile import StoredPoint

START_MS = 1_764_000_000_000


def taken(*, clockless: bool, acknowledged: int = 6) -> list[Pack]:
    """Six samples over two boots, the first `acknowledged` of them with a 2.04."""
    return [
        Pack(
            boot=1 + number // 3,
            seq=number % 3,
            taken_ms=START_MS + 1000 * number,
            channel=number if clockless else 0,
            raw=100 + number,
            count=2 * (number % 3),
            total=2 * (number % 3) + 4 * (number // 3),
            acknowledged=number < acknowledged,
        )
        for number in range(6)
    ]


def kept(packs: list[Pack], off_ms: int = 0) -> NodeSeries:
    temperatures: dict[int, list[StoredPoint]] = {}
    for pack in packs:
        temperatures.setdefault(pack.channel, []).append(StoredPoint(pack.taken_ms + off_ms, pack.raw))
    return NodeSeries(temperatures, [(pack.taken_ms + off_ms, pack.total) for pack in packs])


both = pytest.mark.parametrize("clockless", [False, True])


@both
def test_everything_there_once(*, clockless: bool) -> None:
    packs = taken(clockless=clockless)
    assert account_for(packs, kept(packs), clockless=clockless) == Count(acknowledged=12, stored=12)


@both
def test_what_was_not_acknowledged_may_be_there_or_not(*, clockless: bool) -> None:
    packs = taken(clockless=clockless, acknowledged=4)
    for stored in (packs, packs[:5], packs[:4]):
        assert account_for(packs, kept(stored), clockless=clockless) == Count(acknowledged=8, stored=8)


@both
def test_an_acknowledged_reading_is_missing(*, clockless: bool) -> None:
    packs = taken(clockless=clockless)
    stored = kept(packs)
    without = {
        channel: [point for point in points if point.raw != 102] for channel, points in stored.temperatures.items()
    }
    found = account_for(packs, NodeSeries(without, stored.totals), clockless=clockless)
    assert found == Count(acknowledged=12, stored=11, lost=1)


@both
def test_the_last_pack_is_missing(*, clockless: bool) -> None:
    packs = taken(clockless=clockless)
    assert account_for(packs, kept(packs[:5]), clockless=clockless).lost >= 2


@both
def test_nothing_is_there(*, clockless: bool) -> None:
    packs = taken(clockless=clockless)
    found = account_for(packs, NodeSeries({}, []), clockless=clockless)
    assert found.stored == 0
    assert found.lost >= 12


def test_a_clockless_reading_was_dated_twice() -> None:
    packs = taken(clockless=True)
    stored = kept(packs)
    again = {**stored.temperatures, 2: [*stored.temperatures[2], StoredPoint(START_MS + 9000, 102)]}
    assert account_for(packs, NodeSeries(again, stored.totals), clockless=True) == Count(12, 12, 0, 1)


def test_a_clockless_node_may_be_dated_by_the_gateway() -> None:
    packs = taken(clockless=True)
    assert account_for(packs, kept(packs, off_ms=137), clockless=True) == Count(12, 12)


def test_a_reading_with_a_time_has_that_time() -> None:
    packs = taken(clockless=False)
    found = account_for(packs, kept(packs, off_ms=137), clockless=False)
    assert (found.lost, found.double) == (12, 12)


@both
@pytest.mark.parametrize(("off", "expected"), [(3, (0, 3)), (-3, (3, 0))])
def test_the_boots_were_added_up_wrongly(off: int, expected: tuple[int, int], *, clockless: bool) -> None:
    packs = taken(clockless=clockless)
    stored = kept(packs)
    totals = [*stored.totals[:3], *((time_ms, total + off) for time_ms, total in stored.totals[3:])]
    found = account_for(packs, NodeSeries(stored.temperatures, totals), clockless=clockless)
    assert (found.lost, found.double) == expected
    assert found.falls == (off < 0)


@both
@pytest.mark.parametrize("raw", [100, 999])
def test_a_foreign_reading(raw: int, *, clockless: bool) -> None:
    packs = taken(clockless=clockless)
    stored = kept(packs)
    foreign = {**stored.temperatures, 63: [StoredPoint(START_MS, raw)]}
    assert account_for(packs, NodeSeries(foreign, stored.totals), clockless=clockless) == Count(12, 12, 0, 1)
