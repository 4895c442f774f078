"""The slope of the free heap: what counts as growth, and what does not."""

from __future__ import annotations

from random import Random

import pytest

from andon_workbench.soak.heap import MEMORIES_FULL, runs, slope

HOUR_MS = 3_600_000.0
TEN_S = 10_000
DAY = range(0, round(24 * HOUR_MS), TEN_S)


def test_every_start_has_its_own_level_and_counts_from_its_sixteenth_command() -> None:
    commands = [hour * HOUR_MS + step for hour in (1, 20) for step in range(MEMORIES_FULL)]
    first = [(hour * HOUR_MS, 100_000 - 50 * hour) for hour in range(2, 18)]
    # Other level after the restart; what falls before its memories are full does not count.
    second = [(19 * HOUR_MS, 200_000.0)] + [(hour * HOUR_MS, 90_000 - 50 * hour) for hour in range(21, 30)]
    found = slope(runs([*first, *second], [0, 18 * HOUR_MS], commands, warm_up_ms=0))
    assert found is not None
    assert found.bytes_per_hour == pytest.approx(-50)
    assert found.standard_error == pytest.approx(0, abs=1e-6)


def test_the_warm_up_does_not_count_however_many_commands_there_were() -> None:
    commands = [1.0 + step for step in range(MEMORIES_FULL)]
    samples = [(hour * HOUR_MS / 4, 100_000.0 if hour >= 4 else 200_000.0) for hour in range(20)]
    found = slope(runs(samples, [0], commands, warm_up_ms=HOUR_MS))
    assert found is not None
    assert found.bytes_per_hour == pytest.approx(0)


def test_too_few_samples_tell_nothing() -> None:
    assert slope(runs([(0, 1.0), (1000, 2.0)], [0], [1.0] * MEMORIES_FULL, 0)) is None
    assert slope(runs(filling(0, 0), [0], COMMANDS[: MEMORIES_FULL - 1], 0)) is None
    assert slope([]) is None


def filling(leak_per_hour: float, leak_per_command: float) -> list[tuple[float, float]]:
    """A day of a node that carries a command out every half hour and remembers the newest 16."""
    noise = Random(1)
    return [
        (
            float(time_ms),
            100_000
            - 560 * min(time_ms // (HOUR_MS / 2), MEMORIES_FULL)
            - leak_per_hour * time_ms / HOUR_MS
            - leak_per_command * (time_ms // (HOUR_MS / 2))
            + noise.gauss(0, 2000),
        )
        for time_ms in DAY
    ]


COMMANDS = [half * HOUR_MS / 2 for half in range(1, 48)]


def test_memories_that_fill_are_no_growth() -> None:
    found = slope(runs(filling(0, 0), [0], COMMANDS, 0))
    assert found is not None
    assert abs(found.bytes_per_hour) < 3 * found.standard_error < 60


@pytest.mark.parametrize(("per_hour", "per_command"), [(100, 0), (0, 50)])
def test_a_leak_is_seen_whether_time_or_commands_feed_it(per_hour: float, per_command: float) -> None:
    found = slope(runs(filling(per_hour, per_command), [0], COMMANDS, 0))
    assert found is not None
    assert found.bytes_per_hour == pytest.approx(-100, abs=3 * found.standard_error)
    assert found.standard_error < 20


def test_samples_that_resemble_their_neighbours_do_not_make_the_error_small() -> None:
    """Slow noise: every five minutes another level. The error must cover what chance does."""
    wrong = 0
    for seed in range(20):
        noise = Random(seed)
        levels = [noise.gauss(0, 2000) for _ in range(24 * 12 + 1)]
        samples = [(float(time_ms), 100_000 + levels[time_ms // 300_000]) for time_ms in DAY]
        found = slope(runs(samples, [0], [1.0] * MEMORIES_FULL, 0))
        assert found is not None
        wrong += abs(found.bytes_per_hour) > 3 * found.standard_error
    assert wrong <= 1
