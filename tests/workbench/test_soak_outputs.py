"""When an output counts as energised without a valid lease."""

from __future__ import annotations

import pytest

from andon_workbench.soak.heap import slope_per_hour, typical_slope
from andon_workbench.soak.outputs import Interval, LeasedCommand, energised, unsafe_s
from andon_workbench.soak.plan import SoakOptions, Victim, draw_faults
from andon_workbench.world.relay import ContactChange

S = 1_000_000
COMMAND = LeasedCommand(issued_us=100 * S, expires_s=60, lease_s=300)


def seconds(start_s: float, end_s: float) -> Interval:
    return Interval(round(start_s * S), round(end_s * S))


def test_energised_is_while_the_normally_closed_contact_is_open() -> None:
    changes = [
        ContactChange(5 * S, 0, closed=False),
        ContactChange(9 * S, 0, closed=True),
        ContactChange(11 * S, 0, closed=False),
    ]
    changes.insert(1, ContactChange(6 * S, 1, closed=False))
    assert energised(changes, 0, 20 * S) == [seconds(5, 9), seconds(11, 20)]


@pytest.mark.parametrize(
    ("interval", "unsafe"),
    [
        (seconds(102, 402), 0.0),
        (seconds(102, 402.9), 0.0),
        (seconds(102, 410), 7.0),
        # Executed just before its expiry, and after it.
        (seconds(160, 459), 0.0),
        (seconds(165, 180), 14.0),
        # Nobody had commanded anything yet.
        (seconds(20, 30), 9.0),
    ],
)
def test_an_output_may_be_on_for_its_lease(interval: Interval, unsafe: float) -> None:
    assert unsafe_s([interval], [COMMAND], [], hold_s=120) == pytest.approx(unsafe)


def test_a_silent_gateway_ends_it_after_the_hold_time() -> None:
    silence = seconds(150, 1000)
    assert unsafe_s([seconds(102, 270.5)], [COMMAND], [silence], hold_s=120) == 0
    assert unsafe_s([seconds(102, 280)], [COMMAND], [silence], hold_s=120) == pytest.approx(9)


def test_a_silence_shorter_than_the_hold_time_ends_nothing() -> None:
    assert unsafe_s([seconds(102, 400)], [COMMAND], [seconds(150, 260)], hold_s=120) == 0


def test_a_command_that_came_later_renews_the_lease() -> None:
    renewal = LeasedCommand(issued_us=350 * S, expires_s=60, lease_s=300)
    assert unsafe_s([seconds(102, 700)], [COMMAND, renewal], [], hold_s=120) == 0


def test_heap_slope_per_start_without_warm_up() -> None:
    hour_ms = 3_600_000
    first = [(hour * hour_ms, 100_000 - 50 * hour) for hour in range(1, 8)]
    # Other level after the restart, and a fall during the warm-up that must not count.
    second = [(9 * hour_ms, 200_000.0)] + [(hour * hour_ms, 90_000 - 50 * hour) for hour in range(11, 15)]
    slope = slope_per_hour([*first, *second], [0, 9 * hour_ms], warm_up_ms=hour_ms)
    assert slope == pytest.approx(-50)


def test_heap_slope_of_too_few_samples_is_unknown() -> None:
    assert slope_per_hour([(0, 1.0), (1000, 2.0)], [0], 0) is None
    assert typical_slope([None, 5.0, None, -1.0, 2.0]) == 2.0
    assert typical_slope([None]) is None


def test_faults_depend_on_the_seed_alone_and_leave_room_at_both_ends() -> None:
    options = SoakOptions(nodes=20, hours=24, seed=1)
    nodes = [f"press-{number}" for number in range(20)]
    faults = draw_faults(options, nodes)
    assert faults == draw_faults(options, nodes)
    assert faults != draw_faults(SoakOptions(nodes=20, hours=24, seed=2), nodes)
    assert sum(fault.victim is Victim.NODE for fault in faults) == 60
    assert {fault.victim for fault in faults} == set(Victim)
    assert all(0.04 * options.seconds < fault.at_s < 0.91 * options.seconds for fault in faults)
    assert all((fault.node in nodes) == (fault.victim is Victim.NODE) for fault in faults)
