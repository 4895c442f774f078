"""Growth of the nodes' heaps: slope of the free heap while a node runs, between equal states. Pure.

A node remembers the newest requests that it served and the newest commands that it carried out, so as to answer a repeat like the first
time (firmware: coap/endpoint.py, commands.py). These memories are empty at the start and grow by about half a kilobyte with each command until
they are full. That is no leak, and in a soak it takes hours; so samples count only after as many commands as fill every memory. From then on every
growth counts, per command too. (The number of commands does not tell how full a memory is before: what is lost on the way is sent again.)
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Commands after which the endpoint's memory of requests (16) and the desk's of commands (8) are full.
MEMORIES_FULL = 16
_HOUR_MS = 3_600_000.0
# Neighbouring samples resemble each other: what is under way stays for seconds, the collector's leftovers for minutes. As if they were
# independent, they would make the error look too small, so the mean of a while is one value.
_BLOCK_H = 1 / 6
_ENOUGH = 3

Run = list[tuple[float, float]]
"""(hours, bytes) of one node from one start."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes per hour and their standard error; growth of what is live makes the slope of the free heap negative."""

    bytes_per_hour: float
    standard_error: float


def runs(
    samples: Sequence[tuple[float, float]],
    starts_ms: Sequence[float],
    commands_ms: Sequence[float],
    warm_up_ms: float,
) -> list[Run]:
    """The samples of one node, (epoch ms, bytes), after its memories were full, by its starts.

    Args:
        samples: Free heap by time.
        starts_ms: When the node was powered, in order.
        commands_ms: When a command had been carried out, in order.
        warm_up_ms: Time after each start that does not count: modules are still being imported, buffers made.
    """
    found: dict[int, Run] = {}
    for time_ms, free in samples:
        start = bisect_right(starts_ms, time_ms)
        since_ms = starts_ms[start - 1] if start else -1.0
        if start and time_ms - since_ms < warm_up_ms:
            continue
        if bisect_right(commands_ms, time_ms) - bisect_right(commands_ms, since_ms) >= MEMORIES_FULL:
            found.setdefault(start, []).append((time_ms / _HOUR_MS, free))
    return list(found.values())


def slope(found: Iterable[Run]) -> Slope | None:
    """Least squares over all runs, with a level of its own for each; None where there is too little to tell."""
    above = below = 0.0
    blocks_left = 0
    centred: list[Run] = []
    for run in found:
        blocks = _blocks(run)
        if len(blocks) < _ENOUGH:
            continue
        mean_time, mean_free = fmean(hours for hours, _ in blocks), fmean(free for _, free in blocks)
        centred.append([(hours - mean_time, free - mean_free) for hours, free in blocks])
        above += sum(hours * free for hours, free in centred[-1])
        below += sum(hours**2 for hours, _ in centred[-1])
        blocks_left += len(blocks) - 1
    if not below:
        return None
    per_hour = above / below
    rest = sum((free - per_hour * hours) ** 2 for run in centred for hours, free in run)
    return Slope(per_hour, (rest / (blocks_left - 1) / below) ** 0.5)


def _blocks(run: Run) -> Run:
    blocks: dict[int, Run] = {}
    for hours, free in run:
        blocks.setdefault(int((hours - run[0][0]) / _BLOCK_H), []).append((hours, free))
    return [(fmean(hours for hours, _ in block), fmean(free for _, free in block)) for block in blocks.values()]
