from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from andon_cloud.console.rates import Point
from andon_cloud.console.sparkline import HEIGHT, WIDTH, draw_sparkline


def coordinates(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.e+]+) ([-\d.e+]+)", path)]


def test_the_line_runs_from_left_to_right_and_hot_is_up() -> None:
    drawn = draw_sparkline([Point(0, 20), Point(50, 30), Point(100, 40)], 0, 100)
    assert drawn.line == "M0 45L100 24L200 3"
    assert drawn.area == "M0 48L0 45L100 24L200 3L200 48Z"


def test_noise_stays_flat() -> None:
    (_, first), (_, second) = coordinates(draw_sparkline([Point(0, 20.0), Point(100, 20.1)], 0, 100).line)
    assert abs(first - second) < HEIGHT / 10


def test_a_gap_breaks_the_line() -> None:
    points = [Point(0, 20), Point(50_000, 21), Point(300_000, 22), Point(350_000, 23)]
    assert draw_sparkline(points, 0, 400_000).line.count("M") == 2


def test_nothing_to_show_draws_nothing() -> None:
    assert draw_sparkline([], 0, 100).line == ""
    assert draw_sparkline([Point(500, 1)], 0, 100).line == ""
    assert draw_sparkline([Point(0, 1)], 0, 0).line == ""


@given(st.lists(st.tuples(st.integers(0, 600_000), st.floats(-55, 125)), min_size=1, max_size=80))
def test_every_point_lies_in_the_box(raw: list[tuple[int, float]]) -> None:
    points = sorted(Point(*pair) for pair in raw)
    places = coordinates(draw_sparkline(points, 0, 600_000).line)
    assert len(places) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
