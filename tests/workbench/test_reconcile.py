from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.latency import Sightings, latencies_ms, percentile
from andon_workbench.reconcile import Stored, StoredPoint, raw_from_celsius, reconcile
from andon_workbench.registers import ScratchpadRead
from andon_workbench.world.ledger import Ledger, NodeLedger, Reading

NODES = ("mill-1", "press-1")
raws = st.integers(-880, 2000)
histories = st.fixed_dictionaries({node: st.lists(raws, max_size=20) for node in NODES})
counts = st.fixed_dictionaries({node: st.integers(0, 1000) for node in NODES})


def ledger_of(readings: dict[str, list[int]], cycles: dict[str, int]) -> Ledger:
    nodes = {
        node: NodeLedger(
            readings={0: [Reading(1_000_000 * number, raw) for number, raw in enumerate(values)]},
            cycles={0: cycles[node]},
        )
        for node, values in readings.items()
    }
    return Ledger(nodes)


def stored_of(readings: dict[str, list[int]], cycles: dict[str, int]) -> Stored:
    return Stored(
        {(node, 0): [StoredPoint(1000 * i, raw) for i, raw in enumerate(values)] for node, values in readings.items()},
        {(node, 0): count for node, count in cycles.items()},
    )


@given(histories, counts)
def test_a_faithful_store_has_no_difference(readings: dict[str, list[int]], cycles: dict[str, int]) -> None:
    result = reconcile(ledger_of(readings, cycles), stored_of(readings, cycles))
    assert result.equal
    assert result.differences == ()
    assert result.taken == result.stored == sum(map(len, readings.values()))
    assert result.cycles_true == result.cycles_stored == sum(cycles.values())


@given(histories, counts, st.data())
def test_drops_doubles_and_miscounts_are_found_exactly(
    readings: dict[str, list[int]], cycles: dict[str, int], data: st.DataObject
) -> None:
    copy, miscounted = {node: list(values) for node, values in readings.items()}, dict(cycles)
    missing, extra = Counter[str](), Counter[str]()
    for node in NODES:
        dropped: Counter[int] = Counter()
        for _ in range(data.draw(st.integers(0, len(copy[node])))):
            dropped[copy[node].pop(data.draw(st.integers(0, len(copy[node]) - 1)))] += 1
        doubled = Counter(data.draw(st.lists(raws, max_size=5)))
        copy[node] += doubled.elements()
        missing[node] = (dropped - doubled).total()
        extra[node] = (doubled - dropped).total()
        miscounted[node] += (gap := data.draw(st.integers(-cycles[node], 50)))
        missing[node] += max(-gap, 0)
        extra[node] += max(gap, 0)
    result = reconcile(ledger_of(readings, cycles), stored_of(copy, miscounted))
    for node in NODES:
        assert sum(item.missing for item in result.differences if item.node == node) == missing[node]
        assert sum(item.duplicates for item in result.differences if item.node == node) == extra[node]
    assert result.equal == (not missing.total() and not extra.total())


def test_a_node_that_never_reached_the_store_is_missing_whole() -> None:
    result = reconcile(ledger_of({"mill-1": [1, 2]}, {"mill-1": 3}), Stored({}, {}))
    assert (result.missing, result.duplicates) == (5, 0)


def test_a_node_that_does_not_exist_is_double_whole() -> None:
    result = reconcile(Ledger(), stored_of({"ghost-1": [1]}, {"ghost-1": 2}))
    assert (result.missing, result.duplicates) == (0, 3)


@given(raws)
def test_raw_values_survive_celsius(raw: int) -> None:
    assert raw_from_celsius(raw / 16) == raw


def test_only_clean_and_converted_reads_are_readings_taken() -> None:
    ledger = NodeLedger()
    for clean, converted in ((True, True), (False, True), (True, False), (False, False)):
        ledger.note_read(0, ScratchpadRead(5, 400, clean, converted))
    assert ledger.readings == {0: [Reading(5, 400)]}
    assert ledger.refused == {"crc": 2, "power-on": 1}


def test_latency_counts_from_the_read_to_the_first_sighting() -> None:
    ledger = ledger_of({"mill-1": [400, 401, 402]}, {"mill-1": 0})
    stored = stored_of({"mill-1": [400, 401, 402]}, {"mill-1": 0})
    sightings = Sightings()
    sightings.saw(("mill-1", 0), 0, 40_000)
    sightings.saw(("mill-1", 0), 0, 65_000)
    # The second and third point became visible together.
    sightings.saw(("mill-1", 0), 2000, 2_100_000)
    assert latencies_ms(ledger, stored.temperatures, sightings) == [40.0, 1100.0, 100.0]


def test_points_never_seen_have_no_latency() -> None:
    ledger = ledger_of({"mill-1": [400]}, {"mill-1": 0})
    stored = stored_of({"mill-1": [400]}, {"mill-1": 0})
    assert latencies_ms(ledger, stored.temperatures, Sightings()) == []


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)])
def test_percentile_is_nearest_rank(share: float, value: float) -> None:
    assert percentile(map(float, range(100, 0, -1)), share) == value


def test_percentile_of_nothing() -> None:
    assert percentile([], 0.5) is None
