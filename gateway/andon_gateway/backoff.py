"""Growing, jittered pauses between attempts. Pure but for its default random source."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Exponential back-off with equal jitter: each pause is between half and all of the current step.

    Args:
        first_s: First step in seconds.
        most_s: Largest step in seconds.
        uniform: Random number between two bounds; tests pass their own.
    """

    def __init__(
        self,
        first_s: float,
        most_s: float,
        uniform: Callable[[float, float], float] = random.uniform,  # noqa: S311 -- spreads load, guards nothing
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._uniform = uniform
        self._step_s = first_s

    def next_s(self) -> float:
        """The pause before the next attempt, in seconds; the one after will be longer."""
        step = self._step_s
        self._step_s = min(self._most_s, step * 2)
        return self._uniform(step / 2, step)

    def reset(self) -> None:
        """Start from the first step again, after a success."""
        self._step_s = self._first_s
