"""What the soak's account excuses, and above all what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.reconcile import Stored, StoredPoint
from andon_workbench.soak.account import ChannelAccount, account_for, compare
from andon_workbench.world.ledger import Ledger, PowerCut, Reading


def test_everything_stored() -> None:
    assert compare([5, 6, 6, 7], [5, 6, 6, 7], set()) == ChannelAccount(4, 4)


def test_the_last_reading_before_a_cut_may_be_in_the_cut() -> None:
    assert compare([5, 6, 7], [5, 7], {1}) == ChannelAccount(3, 2, in_cuts=1)


def test_it_may_as_well_have_been_stored() -> None:
    assert compare([5, 6, 7], [5, 6, 7], {1}) == ChannelAccount(3, 3)


def test_no_other_reading_is_excused() -> None:
    assert compare([5, 6, 7], [6, 7], {1}) == ChannelAccount(3, 2, missing=1)


def test_a_second_one_before_the_same_cut_is_not_excused() -> None:
    assert compare([5, 6, 7, 8], [5, 8], {2}) == ChannelAccount(4, 2, missing=2)


def test_a_repeated_reading_is_double() -> None:
    assert compare([5, 6], [5, 6, 6], {1}) == ChannelAccount(2, 3, double=1)


def test_two_readings_that_changed_places_are_not_right() -> None:
    assert compare([5, 6], [6, 5], set()).missing == 2


@given(st.lists(st.integers(0, 3), max_size=30), st.data())
def test_what_is_left_out_is_counted_exactly(taken: list[int], data: st.DataObject) -> None:
    """With few different values the places are ambiguous; the number left out never is."""
    places = st.sets(st.integers(0, len(taken) - 1)) if taken else st.just(set[int]())
    cuts = data.draw(places)
    skipped = data.draw(st.sets(st.sampled_from(sorted(cuts)))) if cuts else set[int]()
    stored = [raw for index, raw in enumerate(taken) if index not in skipped]
    assert compare(taken, stored, cuts) == ChannelAccount(len(taken), len(stored), in_cuts=len(skipped))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_without_cuts_nothing_may_be_left_out(taken: list[int], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(taken) - 1))
    found = compare(taken, taken[:gone] + taken[gone + 1 :], set())
    assert (found.missing, found.double, found.in_cuts) == (1, 0, 0)


def cut_ledger(*, cycles_at_risk: int) -> Ledger:
    ledger = Ledger()
    node = ledger.node("press-1")
    node.readings[0] = [Reading(1, 640), Reading(2, 641)]
    node.cycles[0] = 10
    node.cuts.append(PowerCut(3, {0: 2}, cycles_at_risk))
    return ledger


@pytest.mark.parametrize(("stored", "lost", "double"), [(10, 0, 0), (8, 0, 0), (7, 1, 0), (11, 0, 1)])
def test_a_cut_excuses_the_cycles_at_risk_and_no_more(stored: int, lost: int, double: int) -> None:
    points = {("press-1", 0): [StoredPoint(2000, 641), StoredPoint(1000, 640)]}
    account = account_for(cut_ledger(cycles_at_risk=2), Stored(points, {("press-1", 0): stored}))
    cycles = account.cycles["press-1", 0]
    assert (cycles.lost, cycles.double) == (lost, double)
    assert account.settled == (not lost and not double)
    assert account.readings["press-1", 0] == ChannelAccount(2, 2)


def test_readings_of_a_node_that_nobody_knows_are_double() -> None:
    account = account_for(Ledger(), Stored({("ghost", 0): [StoredPoint(1, 640)]}, {}))
    assert account.readings["ghost", 0].double == 1
    assert not account.settled
