"""The rules' state machines: against a second, independent description, and worked examples by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gateway.rules_reference import events as expected_events
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.rules.document import NoDataRule, Rule, RulesError, expected_channels, parse_document
from andon_gateway.rules.evaluation import (
    WINDOW_POINTS,
    Memory,
    Transition,
    fall_silent,
    hear,
    silent_from_ms,
    take,
    withdraw,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rules.json").read_text())
T0 = 1_764_000_000_000


def parsed(**rule: Any) -> Rule:
    whole = {"id": "r", "nodes": ["press-7"], "channel": "temperature/0", "priority": "high", **rule}
    return parse_document(json.dumps({"version": 1, "rules": [whole]})).rules[0]


def run(rule: Rule, samples: list[tuple[int, float]]) -> list[tuple[int, bool, float]]:
    """Events of readings, with the memory on disk and back between any two."""
    assert not isinstance(rule, NoDataRule)
    found = []
    memory = Memory()
    for time_ms, value in samples:
        transition = take(rule, memory, time_ms, value)
        if transition is not None:
            found.append((transition.time_ms, transition.active, transition.value))
        memory = Memory.from_text(memory.to_text())
    return found


# --- documents ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", VECTORS["good"], ids=lambda rule: rule["id"])
def test_good_rules_are_taken(rule: dict[str, Any]) -> None:
    (taken,) = parse_document(json.dumps({"version": 1, "rules": [rule]})).rules
    assert taken.id == rule["id"]


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: f"{case['place']}-{case['rule'].get('id')}")
def test_bad_rules_are_refused_with_their_place(case: dict[str, Any]) -> None:
    with pytest.raises(RulesError) as caught:
        parse_document(json.dumps({"version": 1, "rules": [case["rule"]]}))
    place = "rules.0" if case["place"] == "type" else f"rules.0.{case['place']}"
    assert str(caught.value).startswith((f"{place}:", f"{place}.0:"))
    assert "\n" not in str(caught.value)


def test_documents_that_are_none() -> None:
    good = VECTORS["good"][0]
    for text in (
        "",
        "[]",
        "{}",
        '{"version": 0, "rules": []}',
        '{"version": 1}',
        '{"version": 1, "rules": [], "x": 1}',
    ):
        with pytest.raises(RulesError):
            parse_document(text)
    with pytest.raises(RulesError, match=r"rules\.1\.id: smallest is there twice"):
        parse_document(json.dumps({"version": 1, "rules": [good, good]}))
    with pytest.raises(RulesError, match="1048576 characters"):
        parse_document(" " * (1 << 20) + '{"version": 1, "rules": []}')


def test_only_nodes_named_without_a_pattern_are_awaited() -> None:
    rule = parsed(type="no-data", nodes=["press-7", "oven-*", "mill-1"], channel="cycles/0", timeout_s=5)
    assert isinstance(rule, NoDataRule)
    assert expected_channels(rule) == [("press-7", "cycles/0"), ("mill-1", "cycles/0")]
    rule = parsed(type="no-data", nodes=["press-7"], channel="cycles/*", timeout_s=5)
    assert isinstance(rule, NoDataRule)
    assert expected_channels(rule) == []


# --- against the reference ----------------------------------------------------------------------------------------------
delays = st.sampled_from([0, 0.5, 1, 2, 5])
deadbands = st.sampled_from([0, 0.5, 1, 3])
absolute = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["high", "high-high", "low", "low-low"]),
        "setpoint": st.sampled_from([-1, 0, 2, 2.5]),
        "deadband": deadbands,
        "on_delay_s": delays,
        "off_delay_s": delays,
    }
)
# Readings are at least 250 ms apart here: none of the window's points is left out, so the reference can be exact.
rates = st.fixed_dictionaries(
    {
        "type": st.just("rate-of-change"),
        "setpoint": st.sampled_from([1, 30, 60, 100]),
        "window_s": st.sampled_from([1, 2, 5, 8]),
        "direction": st.sampled_from(["rising", "falling", "either"]),
        "deadband": st.sampled_from([0, 10, 60]),
        "on_delay_s": st.just(0),
        "off_delay_s": st.just(0),
    }
)
stuck = st.fixed_dictionaries(
    {
        "type": st.just("stuck"),
        "duration_s": st.sampled_from([1, 2, 5]),
        "deadband": deadbands,
        "on_delay_s": delays,
        "off_delay_s": delays,
    }
)
steps = st.sampled_from([250, 500, 1000, 1000, 1500, 4000, 9000, -700, 0])
values = st.sampled_from([-3.0, -1.0, 0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0])


@given(st.one_of(absolute, rates, stuck), st.lists(st.tuples(steps, values), max_size=25))
@settings(max_examples=400, deadline=None)
def test_events_are_those_of_the_reference(rule: dict[str, Any], moves: list[tuple[int, float]]) -> None:
    samples = []
    time_ms = T0
    for step_ms, value in moves:
        time_ms += step_ms
        samples.append((time_ms, value))
    found = run(parsed(**rule), samples)
    assert found == expected_events(rule, samples)


@given(st.lists(st.integers(1, 500), min_size=200, max_size=400), st.sampled_from([-120.0, -30.0, 30.0, 120.0]))
@settings(max_examples=50, deadline=None)
def test_a_dense_ramp_has_its_rate_and_a_bounded_memory(steps_ms: list[int], per_minute: float) -> None:
    rule = parsed(type="rate-of-change", setpoint=abs(per_minute) - 1, window_s=10)
    memory = Memory()
    raised: list[Transition] = []
    time_ms = T0
    for step_ms in steps_ms:
        time_ms += step_ms
        assert not isinstance(rule, NoDataRule)
        transition = take(rule, memory, time_ms, per_minute * (time_ms - T0) / 60_000)
        raised += [transition] if transition else []
        assert len(memory.points) <= WINDOW_POINTS + 1
    assert time_ms - T0 < 10_000 or [item.active for item in raised] == [True]
    assert all(item.value == pytest.approx(per_minute) for item in raised)


# --- worked examples ----------------------------------------------------------------------------------------------------
def seconds(*pairs: tuple[float, float]) -> list[tuple[int, float]]:
    return [(T0 + round(second * 1000), value) for second, value in pairs]


def test_high_with_deadband_and_delays() -> None:
    rule = parsed(type="high", setpoint=80, deadband=2, on_delay_s=5, off_delay_s=3)
    samples = seconds(
        (0, 79), (1, 81), (3, 80), (4, 81), (8, 82), (9, 83),  # 80 is not above 80: the delay starts again at 4
        (10, 79), (11, 78), (13, 78.5), (14, 77), (16, 76), (17, 75),  # 78.5 is inside the deadband: it starts again at 14
    )  # fmt: skip
    assert run(rule, samples) == [(T0 + 9000, True, 83), (T0 + 17_000, False, 75)]


def test_low_without_delays() -> None:
    rule = parsed(type="low", setpoint=10, deadband=1)
    assert run(rule, seconds((0, 10), (1, 9.9), (2, 10.5), (3, 11), (4, 10))) == [
        (T0 + 1000, True, 9.9),
        (T0 + 3000, False, 11),
    ]


def test_rate_of_change_over_its_window() -> None:
    rule = parsed(type="rate-of-change", setpoint=6, window_s=60, direction="rising")
    # 0.05 per s are 3 per minute; from 60 s on 0.2 per s: half a minute of each gives 7.5 per minute.
    slow = [(float(second), 20 + 0.05 * second) for second in range(0, 61, 10)]
    fast = [(60.0 + second, 23 + 0.2 * second) for second in range(10, 61, 10)]
    found = run(rule, seconds(*slow, *fast))
    assert [(time_ms - T0, active) for time_ms, active, _ in found] == [(90_000, True)]
    assert found[0][2] == pytest.approx(7.5)


def test_one_outlier_after_a_gap_says_nothing_about_a_rate() -> None:
    rule = parsed(type="rate-of-change", setpoint=1, window_s=60)
    assert run(rule, seconds((0, 20), (3600, 90), (3601, 20))) == []


def test_stuck_sensor_and_a_gap() -> None:
    rule = parsed(type="stuck", duration_s=10, deadband=0.1)
    still = [(float(second), 20.0 + 0.05 * (second % 2)) for second in range(0, 11, 2)]
    assert run(rule, seconds(*still, (12, 20.3), (13, 20.3))) == [(T0 + 10_000, True, 20), (T0 + 12_000, False, 20.3)]
    assert run(rule, seconds((0, 20), (100, 20), (105, 20))) == [], "nobody knows what was in between"


def test_infinite_arithmetic_is_no_event() -> None:
    rule = parsed(type="rate-of-change", setpoint=1, window_s=2)
    assert run(rule, seconds((0, -1.7e308), (2, 1.7e308))) == []


def silence(timeout_s: float = 60) -> NoDataRule:
    rule = parsed(type="no-data", timeout_s=timeout_s)
    assert isinstance(rule, NoDataRule)
    return rule


def test_no_data_by_the_gateways_clock() -> None:
    rule, memory = silence(), Memory()
    assert hear(rule, memory, T0, T0 + 100) is None
    assert silent_from_ms(rule, memory, 0) == T0 + 60_000
    assert fall_silent(rule, memory, T0 + 59_999, 0) is None
    # The event's time does not depend on when somebody looked.
    assert fall_silent(rule, memory, T0 + 63_500, 0) == Transition(T0 + 60_000, True, 60)
    assert fall_silent(rule, memory, T0 + 70_000, 0) is None
    # The backlog of the outage comes first, and the alarm ends with the first reading that is fresh.
    assert hear(rule, memory, T0 + 10_000, T0 + 100_000) is None
    assert hear(rule, memory, T0 + 41_000, T0 + 100_100) == Transition(T0 + 100_100, False, 59.1)


def test_no_data_is_not_fooled_by_a_clock_that_is_ahead_nor_by_a_restart() -> None:
    rule, memory = silence(), Memory()
    hear(rule, memory, T0 + 3_600_000, T0)
    assert silent_from_ms(rule, memory, 0) == T0 + 60_000
    # The gateway was off for an hour: nodes get the time-out to be heard again.
    assert fall_silent(rule, memory, T0 + 3_600_000, T0 + 3_590_000) is None
    assert fall_silent(rule, memory, T0 + 3_650_000, T0 + 3_590_000) == Transition(T0 + 3_650_000, True, 3650)


def test_a_node_never_heard_is_silent_from_the_time_of_the_rule_on() -> None:
    assert fall_silent(silence(), Memory(), T0 + 60_000, T0) == Transition(T0 + 60_000, True, 60)


def test_a_withdrawn_rule_ends_its_alarm_after_its_last_event() -> None:
    rule = parsed(type="high", setpoint=80)
    assert not isinstance(rule, NoDataRule)
    memory = Memory()
    take(rule, memory, T0, 90)
    assert withdraw(memory, T0 - 5000) == Transition(T0 + 1, False, 0)
    assert withdraw(memory, T0) is None
