"""Duplicates, totals, rendering and pauses: pure logic against simple models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point

from andon_gateway.backoff import Backoff
from andon_gateway.spool import cycles as cycles_module
from andon_gateway.spool.cycles import MAX_OPEN_BOOTS, CycleTotal
from andon_gateway.spool.identity import MAX_RANGES, SeenRanges
from andon_gateway.uplink.lineprotocol import Asset, escape_tag, format_field, render
from andon_gateway.uplink.uplink import RETRY_AFTER_MOST_S, parse_retry_after

if TYPE_CHECKING:
    from andon_gateway.vocabulary import Value

ASSET = Asset("demo", "a1", "l1", "press-7")


# --- identity ------------------------------------------------------------------------------------------------------
@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(0, 60)))
def test_ranges_behave_like_a_set(seqs: list[int]) -> None:
    ranges, model = SeenRanges(), set[int]()
    for seq in seqs:
        assert ranges.add(seq) == (seq not in model)
        model.add(seq)
    assert {seq for seq in range(70) if seq in ranges} == model
    again = SeenRanges.from_text(ranges.to_text())
    assert again.ranges == ranges.ranges
    assert all(low <= high and high + 1 < following for (low, high), (following, _) in zip(
        ranges.ranges, ranges.ranges[1:], strict=False
    ))  # fmt: skip


def test_in_order_packs_take_one_range() -> None:
    ranges = SeenRanges()
    for seq in range(100_000):
        assert ranges.add(seq)
    assert ranges.to_text() == "0-99999"


def test_a_node_that_skips_for_ever_stays_bounded() -> None:
    ranges = SeenRanges()
    for seq in range(0, 10_000, 2):
        assert ranges.add(seq)
    assert len(ranges.ranges) == MAX_RANGES
    assert not any(ranges.add(seq) for seq in range(0, 10_000, 2))  # nothing taken is ever taken again


# --- cycles --------------------------------------------------------------------------------------------------------
Reading = tuple[int, int, int]  # boot, raw count, time


def _series(readings: list[Reading]) -> tuple[CycleTotal, dict[int, int]]:
    total, series = CycleTotal(), dict[int, int]()
    for boot, raw, time_ms in readings:
        before = total.total
        for point_ms, value in total.take(boot, raw, time_ms):
            series[point_ms] = value  # the store's rule: same time, the field is replaced
        assert total.total >= before, "the total fell"
    return total, series


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000), st.integers(0, 50)), min_size=1))
def test_any_interleaving_ends_at_the_sum_of_maxima(readings: list[Reading]) -> None:
    total, series = _series(readings)
    expected = sum(max(raw for boot, raw, _ in readings if boot == b) for b in {boot for boot, _, _ in readings})
    assert total.total == expected
    assert series[max(series)] == expected, "the newest point is not the total"
    assert max(series.values()) == expected, "a point is above the total"


@st.composite
def _machine(draw: st.DrawFn) -> list[Reading]:
    """What really happens: counts grow within a boot, boots follow each other, time goes on."""
    readings, now = [], 0
    for boot in range(draw(st.integers(1, 4))):
        raw = 0
        for step in draw(st.lists(st.integers(0, 9), max_size=6)):
            raw, now = raw + step, now + 1
            readings.append((boot, raw, now))
    return readings


@settings(deadline=None)  # a busy machine is no failure
@given(_machine())
def test_in_order_the_series_is_exact(readings: list[Reading]) -> None:
    _, series = _series(readings)
    highest: dict[int, int] = {}
    for boot, raw, time_ms in readings:
        highest[boot] = raw
        assert series[time_ms] == sum(highest.values())


@settings(deadline=None)  # a busy machine is no failure
@given(_machine(), st.data())
def test_replays_change_nothing(readings: list[Reading], data: st.DataObject) -> None:
    if not readings:
        return
    replayed = readings + data.draw(st.lists(st.sampled_from(readings)))
    assert _series(replayed)[1] == _series(readings)[1]


def test_a_late_boot_raises_the_end_and_never_lowers_the_series() -> None:
    total, series = _series([(1, 100, 10), (2, 5, 20), (1, 110, 12), (2, 6, 30)])
    assert total.total == 116
    assert series == {10: 100, 12: 105, 20: 115, 30: 116}
    assert sorted(series.values()) == [series[time_ms] for time_ms in sorted(series)]


def test_very_old_boots_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cycles_module, "MAX_OPEN_BOOTS", 3)
    total, _ = _series([(boot, 10, boot) for boot in range(10)])
    assert total.total == 100
    assert len(total.highest) == 3
    total.take(1, 999, 1)  # settled: neither falls nor doubles
    assert total.total == 100
    assert MAX_OPEN_BOOTS == 32


# --- line protocol -------------------------------------------------------------------------------------------------
def test_lines_of_the_protocol_document() -> None:
    readings: list[list[object]] = [
        ["temperature/0", 1764000000000, 41.1875],
        ["temperature/0/fault", 1764000000001, "crc"],
        ["cycles/0", 1764000000000, 18231],
        ["relay/0", 1764000000000, True],
        ["node/heap_free", 1764000000000, 104320],
        ["node/rssi", 1764000000000, -61],
        ["node/uptime_s", 1764000000000, 93],
    ]
    tags = "line=l1,machine=press-7,node=press-7,site=demo"
    assert render("press-7", 12, ASSET, readings) == [
        f"temperature,area=a1,channel=0,{tags} celsius=41.1875 1764000000000",
        f'temperature,area=a1,channel=0,{tags} fault="crc" 1764000000001',
        f"cycles,area=a1,channel=0,{tags} total=18231i 1764000000000",
        f"relay,area=a1,channel=0,{tags} on=true 1764000000000",
        f"node,area=a1,{tags} heap_free=104320i,rssi=-61i,uptime_s=93i,boots=12i 1764000000000",
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1))
def test_tags_are_escaped_like_influxdb_client_does(text: str) -> None:
    if text.endswith("\\"):
        assert not escape_tag(text).endswith("\\")  # it would escape the separator that follows
        return
    point: Any = Point("m")  # type: ignore[no-untyped-call]  # untyped in influxdb-client
    theirs = point.tag("t", text).field("f", 1).to_line_protocol()
    assert f"m,t={escape_tag(text)} f=1i" == theirs


@settings(deadline=None)  # a busy machine is no failure
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.booleans())
def test_fields_keep_their_value(value: Value) -> None:
    text = format_field(value)
    if isinstance(value, bool):
        assert text == str(value).lower()
    elif isinstance(value, int):
        assert (text[-1], int(text[:-1])) == ("i", value)
    else:
        assert float(text) == value


def test_text_fields_are_quoted() -> None:
    assert format_field('a"b\\') == '"a\\"b\\\\"'


# --- pauses --------------------------------------------------------------------------------------------------------
def test_backoff_doubles_up_to_its_limit_and_starts_again() -> None:
    backoff = Backoff(1, 8, lambda low, high: (low + high) / 2)
    assert [backoff.next_s() for _ in range(5)] == [0.75, 1.5, 3, 6, 6]
    backoff.reset()
    assert backoff.next_s() == 0.75


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("7", 7),
        ("soon", None),
        ("-3", None),
        ("999999999999", RETRY_AFTER_MOST_S),
        ("Mon, 24 Nov 2025 16:00:10 GMT", 10.0),
        ("Mon, 24 Nov 2025 15:00:00 GMT", 0.0),
    ],
)
def test_retry_after(text: str | None, expected: float | None) -> None:
    assert parse_retry_after(text, 1764000000.0) == expected
