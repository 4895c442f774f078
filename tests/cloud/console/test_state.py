from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_cloud.console.state import MachineState, Readings, Thresholds, age_s, age_text, derive_condition

NOW = 1_764_000_000_000
RUNNING = Readings(
    last_seen_ms=NOW - 1_000, temperature_c=41.0, contacts_closed=(True,), last_cycle_ms=NOW - 3_000, mean_cycle_s=4.0
)


def state(readings: Readings) -> MachineState:
    return derive_condition(readings, NOW).state


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, MachineState.RUNNING),
        ({"last_cycle_ms": NOW - 30_000}, MachineState.RUNNING),
        ({"last_cycle_ms": NOW - 30_001}, MachineState.IDLE),
        ({"last_cycle_ms": None}, MachineState.IDLE),
        ({"last_cycle_ms": NOW - 170_000, "mean_cycle_s": 60.0}, MachineState.RUNNING),
        ({"last_cycle_ms": NOW - 181_000, "mean_cycle_s": 60.0}, MachineState.IDLE),
        ({"contacts_closed": (False,)}, MachineState.STOPPED),
        ({"contacts_closed": (True, False)}, MachineState.STOPPED),
        ({"contacts_closed": ()}, MachineState.RUNNING),
        ({"temperature_c": 84.9}, MachineState.RUNNING),
        ({"temperature_c": 85.0}, MachineState.FAULT),
        ({"sensor_fault": "crc"}, MachineState.FAULT),
        ({"sensor_fault": "crc", "contacts_closed": (False,)}, MachineState.FAULT),
        ({"last_seen_ms": NOW - 30_000}, MachineState.RUNNING),
        ({"last_seen_ms": NOW - 30_001}, MachineState.OFFLINE),
        ({"last_seen_ms": NOW - 90_000, "temperature_c": 99.0}, MachineState.OFFLINE),
        ({"last_seen_ms": None}, MachineState.OFFLINE),
        ({"last_seen_ms": NOW + 5_000}, MachineState.RUNNING),
    ],
)
def test_a_state_follows_from_the_readings(change: dict[str, object], expected: MachineState) -> None:
    assert state(replace(RUNNING, **change)) is expected  # type: ignore[arg-type]  # keys are field names


def test_the_reason_names_the_sensor_fault() -> None:
    assert derive_condition(replace(RUNNING, sensor_fault="absent"), NOW).reason == "Sensor not found"
    assert derive_condition(replace(RUNNING, sensor_fault="new-one"), NOW).reason == "Sensor: new-one"


def test_thresholds_are_settable() -> None:
    limits = Thresholds(over_temperature_c=40)
    assert derive_condition(RUNNING, NOW, limits).state is MachineState.FAULT
    assert derive_condition(RUNNING, NOW, limits).reason == "Over 40 °C"


readings_strategy = st.builds(
    Readings,
    last_seen_ms=st.none() | st.integers(NOW - 10**9, NOW + 10**6),
    temperature_c=st.none() | st.floats(-55, 125),
    sensor_fault=st.none() | st.sampled_from(["absent", "crc", "power-on", "range"]),
    contacts_closed=st.lists(st.booleans(), max_size=4).map(tuple),
    last_cycle_ms=st.none() | st.integers(NOW - 10**9, NOW + 10**6),
    mean_cycle_s=st.none() | st.floats(0, 3600),
)


@given(readings_strategy, st.integers(0, 10**9))
def test_silence_always_ends_offline_and_never_recovers_by_itself(readings: Readings, later_ms: int) -> None:
    if derive_condition(readings, NOW).state is MachineState.OFFLINE:
        assert derive_condition(readings, NOW + later_ms).state is MachineState.OFFLINE
    assert derive_condition(readings, NOW + 10**9).state is MachineState.OFFLINE


@given(readings_strategy)
def test_an_open_contact_is_never_shown_as_running(readings: Readings) -> None:
    if not all(readings.contacts_closed):
        assert state(readings) not in {MachineState.RUNNING, MachineState.IDLE}


@given(readings_strategy)
def test_every_state_comes_with_a_reason(readings: Readings) -> None:
    assert derive_condition(readings, NOW).reason


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "now"),
        (0, "now"),
        (1.9, "now"),
        (2, "2 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_ages_are_told_for_people(seconds: float, expected: str) -> None:
    assert age_text(NOW - int(seconds * 1000), NOW) == expected


def test_never_seen_is_said() -> None:
    assert age_text(None, NOW) == "never"


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_an_age_is_never_negative(time_ms: int, now_ms: int) -> None:
    assert age_s(time_ms, now_ms) >= 0
