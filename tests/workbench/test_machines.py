from __future__ import annotations

import math
from itertools import pairwise
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.registers import POWER_ON_RAW, Edge
from andon_workbench.world.kinds import KINDS, OVEN, PACKER, PRESS, STAMP, MachineKind
from andon_workbench.world.machine import Machine, MachineState
from andon_workbench.world.pulses import Pulse
from andon_workbench.world.relay import ContactFault, RelayContact
from andon_workbench.world.thermal import ThermalBody

SECOND = 1_000_000


def running(kind: MachineKind, seed: int = 1) -> Machine:
    machine = Machine(kind, Random(seed), 0)
    machine.start_up()
    return machine


def count_debounced(edges: list[Edge], active: int, debounce_us: int) -> int:
    """Independent count: a rise counts when the signal was not active within the debounce time before it."""
    count, last_active_us = 0, -(10**12)
    for edge, following in [*pairwise(edges), (edges[-1], None)] if edges else []:
        if edge.level == active:
            count += edge.time_us - last_active_us > debounce_us
            last_active_us = following.time_us if following is not None else edge.time_us
    return count


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_cycle_times_have_their_distribution(kind: MachineKind) -> None:
    rng = Random(7)
    times = [kind.cycle.draw_s(rng) for _ in range(20_000)]
    assert min(times) >= kind.cycle.shortest_s
    assert fmean(times) == pytest.approx(kind.cycle.mean_s, rel=0.02)
    assert sorted(times)[10_000] == pytest.approx(kind.cycle.median_s, rel=0.02)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_rate_of_a_shift_follows_cycle_time_and_minor_stops(kind: MachineKind) -> None:
    machine = running(kind, seed=3)
    hours = 20
    for minute in range(1, hours * 60 + 1):
        machine.advance(minute * 60 * SECOND, released=True)
    running_share = kind.stops.mean_between_s / (kind.stops.mean_between_s + kind.stops.mean_length_s)
    assert machine.cycles == pytest.approx(hours * 3600 * running_share / kind.cycle.mean_s, rel=0.03)


def test_at_rest_until_started_and_after_shutdown() -> None:
    machine = Machine(PACKER, Random(1), 0)
    assert machine.advance(60 * SECOND, released=True) == []
    assert machine.quiet
    machine.start_up()
    machine.advance(120 * SECOND, released=True)
    done = machine.cycles
    assert done > 0
    machine.shut_down()
    machine.advance(121 * SECOND, released=True)
    assert machine.quiet
    assert machine.state is MachineState.STOPPED
    assert machine.advance(600 * SECOND, released=True) == []
    assert machine.cycles == done


def test_open_run_enable_loop_holds_the_machine_where_it_is() -> None:
    held, free = running(STAMP), running(STAMP)
    held.advance(5 * SECOND, released=True)
    free.advance(5 * SECOND, released=True)
    before = held.cycles
    assert held.advance(100 * SECOND, released=False) == held.advance(100 * SECOND, released=False) == []
    assert held.cycles == before
    assert held.state is MachineState.HELD
    held.advance(110 * SECOND, released=True)
    free.advance(15 * SECOND, released=True)
    assert held.cycles == free.cycles


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("step_ms", [5, 130, 5000])
def test_each_cycle_is_one_pulse_however_the_steps_fall(kind: MachineKind, step_ms: int) -> None:
    machine = running(kind, seed=11)
    edges: list[Edge] = []
    now = 0
    while now < 120 * SECOND:
        now += step_ms * 1000
        step = machine.advance(now, released=True)
        assert all(edge.time_us <= now for edge in step)
        edges += step
    machine.shut_down()
    edges += machine.advance(now + 10 * SECOND, released=True)
    assert [edge.time_us for edge in edges] == sorted({edge.time_us for edge in edges})
    assert all(before.level != after.level for before, after in pairwise(edges))
    assert edges[0].level == kind.pulse.active_level
    assert edges[-1].level == 1 - kind.pulse.active_level
    assert count_debounced(edges, kind.pulse.active_level, kind.debounce_ms * 1000) == machine.cycles > 0


def test_steps_do_not_change_what_happens() -> None:
    fine, coarse = running(OVEN, seed=5), running(OVEN, seed=5)
    fine_edges = [edge for now in range(10_000, 60 * SECOND + 1, 10_000) for edge in fine.advance(now, released=True)]
    assert fine_edges == coarse.advance(60 * SECOND, released=True)
    assert fine.temperature_c == pytest.approx(coarse.temperature_c)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_contacts_leave_room_for_debouncing(kind: MachineKind) -> None:
    # Width and pause must both exceed the debounce time, else no firmware could count right.
    pause_ms = kind.cycle.shortest_s * 1000 - kind.pulse.longest_us / 1000
    assert kind.pulse.width_ms > kind.debounce_ms
    assert pause_ms > kind.debounce_ms


@given(seed=st.integers(0, 10_000), bounce=st.floats(1.0, 8.0), active=st.integers(0, 1))
def test_bounce_stays_in_its_window(seed: int, bounce: float, active: int) -> None:
    pulse = Pulse(width_ms=50.0, bounce_ms=bounce, active_level=active)
    edges = pulse.edges(1000, Random(seed))
    assert edges[0] == Edge(1000, active)
    assert edges[-1].level == 1 - active
    assert edges[-1].time_us <= 1000 + pulse.longest_us
    window_us = round(bounce * 1000)
    assert all(edge.time_us - 1000 <= window_us or edge.time_us - 51_000 >= 0 for edge in edges)
    assert all(after.time_us - before.time_us >= 50 for before, after in pairwise(edges))


@given(
    start=st.floats(-20, 120),
    activity=st.floats(0, 1),
    seconds=st.floats(0, 1000),
    split=st.floats(0, 1),
)
def test_heat_does_not_depend_on_the_steps_size(start: float, activity: float, seconds: float, split: float) -> None:
    body = ThermalBody(ambient_c=20, rise_k=40, idle_share=0.25, tau_s=60)
    halfway = body.after(start, activity, seconds * split)
    assert body.after(halfway, activity, seconds * (1 - split)) == pytest.approx(body.after(start, activity, seconds))


def test_thermal_steady_state_and_time_constant_by_formula() -> None:
    body = ThermalBody(ambient_c=20, rise_k=40, idle_share=0.25, tau_s=60)
    assert body.after(20, 1.0, 1e6) == pytest.approx(60)
    assert body.after(60, 0.0, 1e6) == pytest.approx(30)
    assert body.after(20, 1.0, 60) == pytest.approx(20 + 40 * (1 - math.exp(-1)))


def test_machine_warms_at_work_and_cools_when_held() -> None:
    machine = running(PRESS, seed=2)
    for second in range(1, 1200):
        machine.advance(second * SECOND, released=True)
    hot = machine.temperature_c
    idle = PRESS.thermal.steady_c(0.0)
    assert hot == pytest.approx(PRESS.thermal.steady_c(1.0), abs=3.0)
    machine.advance(1200 * SECOND + 3600 * SECOND, released=False)
    assert machine.temperature_c == pytest.approx(idle, abs=0.01)
    assert machine.measured_raw() / 16 == pytest.approx(idle, abs=0.3)


def test_oven_passes_through_the_power_on_value() -> None:
    # A real 85.0 degC is a reading taken; firmware that refuses it by value alone must fail a long enough run.
    machine = running(OVEN, seed=9)
    seen = set()
    for second in range(1, 900):
        machine.advance(second * SECOND, released=second < 600)
        seen.add(machine.measured_raw())
    assert min(seen) < POWER_ON_RAW < max(seen)
    assert POWER_ON_RAW in seen


def test_contact_follows_its_coil_after_the_delay() -> None:
    contact = RelayContact(8000)
    assert not contact.advance(1000, closing=False, coil_changed_us=0)
    assert not contact.advance(17_999, closing=True, coil_changed_us=10_000)
    assert contact.advance(18_000, closing=True, coil_changed_us=10_000)
    assert contact.closed
    assert not contact.advance(20_000, closing=True, coil_changed_us=10_000)
    assert contact.advance(40_000, closing=False, coil_changed_us=30_000)
    assert not contact.closed


def test_coil_pulse_shorter_than_the_delay_moves_nothing() -> None:
    contact = RelayContact(8000)
    assert not contact.advance(5000, closing=True, coil_changed_us=4000)
    assert not contact.advance(9000, closing=False, coil_changed_us=8000)
    assert not contact.advance(90_000, closing=False, coil_changed_us=8000)


def test_welded_contact_stays_on_and_stuck_one_off() -> None:
    contact = RelayContact(0)
    contact.advance(10, closing=True, coil_changed_us=10)
    contact.fault = ContactFault.WELDED_CLOSED
    assert not contact.advance(20, closing=False, coil_changed_us=20)
    assert contact.closed
    contact.fault = ContactFault.STUCK_OPEN
    assert contact.advance(30, closing=True, coil_changed_us=30)
    assert not contact.closed
