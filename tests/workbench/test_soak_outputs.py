"""When an output counts as energised without a valid lease."""

from __future__ import annotations

import pytest

from andon_workbench.soak.outputs import Interval, LeasedCommand, energised, excess
from andon_workbench.soak.plan import SoakOptions, Victim, draw_faults
from andon_workbench.soak.turns import Turns
from andon_workbench.world.relay import ContactChange

S = 1_000_000
COMMAND = LeasedCommand(issued_us=100 * S, expires_s=60, lease_s=300)


def seconds(start_s: float, end_s: float) -> Interval:
    return Interval(round(start_s * S), round(end_s * S))


def unsafe_s(
    intervals: list[Interval],
    commands: list[LeasedCommand],
    silences: list[Interval],
    turns: Turns | None = None,
) -> float:
    return excess(intervals, commands, silences, hold_s=120, turns=turns).unsafe_s


def turn(due_s: float, end_s: float, own_s: float) -> Turns:
    return Turns([(round(due_s * S), round(end_s * S), round(own_s * S))])


def test_energised_is_while_the_normally_closed_contact_is_open() -> None:
    """By the coil's time, however late the world saw the contact."""
    changes = [
        ContactChange(6 * S, 0, closed=False, coil_us=5 * S),
        ContactChange(6 * S, 1, closed=False, coil_us=6 * S),
        ContactChange(90 * S, 0, closed=True, coil_us=9 * S),
        ContactChange(91 * S, 0, closed=False, coil_us=11 * S),
    ]
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
    assert unsafe_s([interval], [COMMAND], []) == pytest.approx(unsafe)


def test_a_silent_gateway_ends_it_after_the_hold_time() -> None:
    silence = seconds(150, 1000)
    assert unsafe_s([seconds(102, 270.5)], [COMMAND], [silence]) == 0
    assert unsafe_s([seconds(102, 280)], [COMMAND], [silence]) == pytest.approx(9)


def test_a_silence_shorter_than_the_hold_time_ends_nothing() -> None:
    assert unsafe_s([seconds(102, 400)], [COMMAND], [seconds(150, 260)]) == 0


def test_a_command_that_came_later_renews_the_lease() -> None:
    renewal = LeasedCommand(issued_us=350 * S, expires_s=60, lease_s=300)
    assert unsafe_s([seconds(102, 700)], [COMMAND, renewal], []) == 0


def test_a_command_whose_end_is_known_renews_nothing_later() -> None:
    ended = LeasedCommand(issued_us=100 * S, expires_s=60, lease_s=300, final_us=105 * S)
    renewal = LeasedCommand(issued_us=350 * S, expires_s=60, lease_s=300, final_us=360 * S)
    assert unsafe_s([seconds(102, 661)], [ended, renewal], []) == 0
    assert unsafe_s([seconds(102, 664)], [ended, renewal], []) == pytest.approx(3)
    # What began after its end was not brought on by it.
    assert unsafe_s([seconds(120, 125)], [ended], []) == pytest.approx(4)


def test_of_two_commands_that_may_have_come_first_one_may_have_come_last() -> None:
    """The answer of the first got lost: nobody knows whether it was executed, and when."""
    lost = LeasedCommand(issued_us=90 * S, expires_s=60, lease_s=300)
    assert unsafe_s([seconds(102, 451)], [lost, COMMAND], []) == 0
    assert unsafe_s([seconds(102, 475)], [lost, COMMAND], []) == pytest.approx(13)


LATE = seconds(102, 410)  # 7 s beyond lease and tolerance


def test_time_in_which_the_host_kept_the_board_from_running_is_not_the_firmwares() -> None:
    found = excess([LATE], [COMMAND], [], hold_s=120, turns=turn(401, 410.5, own_s=0.1))
    assert (found.unsafe_s, found.host_s) == pytest.approx((0, 7))


@pytest.mark.parametrize(
    ("turns", "unsafe"),
    [
        # Slept or computed by itself.
        (turn(401, 410.5, own_s=9.5), 7.0),
        (turn(401, 410.5, own_s=4), 3.0),
        # Before the lease was over, or after the coil went off.
        (turn(300, 402, own_s=0), 7.0),
        (turn(410, 420, own_s=0), 7.0),
        # Only a part of it.
        (turn(300, 404, own_s=0), 5.0),
        (turn(408, 500, own_s=0), 5.0),
    ],
)
def test_the_host_excuses_no_other_time(turns: Turns, unsafe: float) -> None:
    found = excess([LATE], [COMMAND], [], hold_s=120, turns=turns)
    assert (found.unsafe_s, found.host_s) == pytest.approx((unsafe, 7 - unsafe))


def test_a_firmware_that_has_had_its_turns_is_late_by_itself() -> None:
    """A host that is always busy excuses three turns and no more: the firmware waits for the wrong time, and has seen the right one pass."""
    busy = Turns([(round(at * S), round((at + 0.9) * S), 0) for at in range(390, 420)])
    found = excess([seconds(102, 412)], [COMMAND], [], hold_s=120, turns=busy)
    assert (found.unsafe_s, found.host_s) == pytest.approx((9 - 2.7, 2.7))


def test_the_hold_time_begins_when_the_board_could_hear_the_last_of_the_gateway() -> None:
    silence = seconds(150, 1000)
    # Kept from running from before the silence; looked into its socket in the turn after.
    turns = Turns([(149 * S, 155 * S, 0), (155 * S, 156 * S, 0), (160 * S, 170 * S, 0)])
    assert unsafe_s([seconds(102, 277)], [COMMAND], [silence], turns) == 0
    assert unsafe_s([seconds(102, 280)], [COMMAND], [silence], turns) == pytest.approx(3)


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
