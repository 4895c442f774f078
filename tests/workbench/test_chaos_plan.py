from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from andon_workbench.chaos.plan import ChaosOptions, Cut, Moment, draw_cuts, draw_kills


@pytest.mark.parametrize("kills", [0, 1, 10, 11, 200])
def test_as_many_kills_as_asked_for(kills: int) -> None:
    drawn = draw_kills(ChaosOptions(kills=kills))
    assert len(drawn) == kills
    assert all(0 <= kill.after <= 6 for kill in drawn)


def test_the_seed_decides() -> None:
    once, again, other = (draw_kills(ChaosOptions(seed=seed)) for seed in (1, 1, 2))
    assert once == again != other
    first, second = (list(islice(draw_cuts(ChaosOptions(seed=1)), 9)) for _ in range(2))
    assert first == second


def test_ten_kills_hit_every_moment() -> None:
    for seed in range(20):
        assert {kill.moment for kill in draw_kills(ChaosOptions(kills=10, seed=seed))} == set(Moment)


def test_every_cut_comes_in_turn() -> None:
    drawn = [cut for cut, _ in islice(draw_cuts(ChaosOptions()), 30)]
    assert Counter(drawn) == dict.fromkeys(Cut, 10)


def test_boards_are_the_first_nodes_and_the_others_lean() -> None:
    options = ChaosOptions(nodes=10, boards=4)
    names = [place.name for place in options.factory_plan().places] + [place.name for place in options.lean_places]
    assert len(set(names)) == 10
    assert len(options.lean_places) == 6
    assert ChaosOptions(nodes=3, boards=25).lean_places == []
