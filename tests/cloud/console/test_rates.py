from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_cloud.console.rates import (
    Point,
    cycles_made,
    cycles_per_window,
    last_cycle_ms,
    mean_cycle_s,
    rate_per_min,
)

NOW = 1_764_000_000_000


def counter(per_min: float, span_s: int, step_s: int = 10, until_ms: int = NOW) -> list[Point]:
    """A counter that grows evenly, sampled every `step_s`."""
    start_ms = until_ms - span_s * 1000
    return [
        Point(start_ms + at * 1000, 500 + int(at * per_min / 60 + 1e-9)) for at in range(0, span_s + step_s, step_s)
    ]


@pytest.mark.parametrize("per_min", [6.0, 12.0, 60.0, 240.0])
def test_the_rate_is_the_slope_of_the_counter(per_min: float) -> None:
    assert rate_per_min(counter(per_min, 300), NOW) == pytest.approx(per_min)


def test_a_slow_machine_is_rated_over_the_long_window() -> None:
    assert rate_per_min(counter(1.0, 300), NOW) == pytest.approx(1.0)


def test_a_machine_that_stopped_slows_down_to_zero() -> None:
    counts = counter(12, 120, until_ms=NOW - 200_000)
    assert rate_per_min(counts, NOW - 200_000) == pytest.approx(12)
    later = rate_per_min(counts, NOW - 100_000)
    assert later is not None
    assert 0 < later < 12
    standing = [*counts, *(Point(time, counts[-1].value) for time in range(NOW - 190_000, NOW + 400_001, 10_000))]
    assert rate_per_min(standing, NOW + 400_000) == 0


def test_one_sample_is_no_rate() -> None:
    assert rate_per_min([], NOW) is None
    assert rate_per_min([Point(NOW, 7)], NOW) is None
    assert rate_per_min([Point(NOW, 7), Point(NOW, 8)], NOW) is None


def test_mean_cycle_time_does_not_grow_while_the_machine_stands() -> None:
    working = counter(10, 60, until_ms=NOW - 240_000)
    standing = [Point(time, working[-1].value) for time in range(NOW - 230_000, NOW + 1, 10_000)]
    assert mean_cycle_s(working) == pytest.approx(6)
    assert mean_cycle_s(working + standing) == pytest.approx(6)
    assert mean_cycle_s(standing) is None
    assert last_cycle_ms(working + standing) == NOW - 240_000
    assert last_cycle_ms(standing) is None


def test_cycles_per_window_are_stamped_with_the_later_sample() -> None:
    counts = [Point(0, 10), Point(60, 14), Point(120, 14)]
    assert cycles_per_window(counts) == [Point(60, 4), Point(120, 0)]


steps = st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 500)), min_size=1, max_size=60)


def grown(increments: list[tuple[int, int]]) -> list[Point]:
    points = [Point(NOW, 0)]
    for step_ms, cycles in increments:
        points.append(Point(points[-1].time_ms + step_ms, points[-1].value + cycles))
    return points


@given(steps)
def test_windows_add_up_to_the_whole(increments: list[tuple[int, int]]) -> None:
    counts = grown(increments)
    assert cycles_made(counts) == sum(cycles for _, cycles in increments)
    assert sum(point.value for point in cycles_per_window(counts)) == cycles_made(counts)


@given(steps)
def test_a_rate_is_never_negative_nor_above_the_fastest_step(increments: list[tuple[int, int]]) -> None:
    counts = grown(increments)
    rate = rate_per_min(counts, counts[-1].time_ms)
    if rate is not None:
        assert 0 <= rate <= max(cycles * 60_000 / step for step, cycles in increments) + 1e-6


@given(steps, st.integers(0, 100))
def test_a_counter_that_starts_again_never_counts_backwards(increments: list[tuple[int, int]], again: int) -> None:
    counts = grown(increments)
    restarted = [*counts, Point(counts[-1].time_ms + 1, min(again, counts[-1].value))]
    assert cycles_made(restarted) >= cycles_made(counts)
