"""Aggregates of one channel over one window of time. Pure; the same readings give the same values in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from andon_gateway.vocabulary import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAGNITUDE_LIMIT: Final = 1e300
"""Larger values are not aggregated: their sum could leave the range of a double."""


@dataclass(frozen=True, slots=True)
class AggregateRule:
    """How one channel is aggregated.

    Attributes:
        window_ms: Length of a window; windows start at multiples of it since the epoch.
        grace_ms: How far the node's sample time must be beyond a window's end before its line is given out.
        raw: Keep the single readings too.
    """

    window_ms: int
    grace_ms: int
    raw: bool


@dataclass(slots=True)
class Window:
    """What is known of one window.

    Attributes:
        partials: Floats without overlapping digits whose exact sum is the sum of the values (Shewchuk 1997, as in `math.fsum`),
            so that the mean does not depend on the order.
        last: Value with the latest time; of equal times the larger value.
        emitted: Its line has been given out at least once.
    """

    count: int = 0
    least: float = math.inf
    most: float = -math.inf
    partials: list[float] = field(default_factory=list)
    last_ms: int = -1
    last: float = 0.0
    emitted: bool = False

    def take(self, value: float, time_ms: int) -> None:
        """Add one reading."""
        self.count += 1
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        self.last_ms, self.last = (
            max((self.last_ms, self.last), (time_ms, value)) if self.count > 1 else (time_ms, value)
        )
        _add_exactly(self.partials, value)

    def summary(self) -> list[float]:
        """`[count, min, max, mean, last]`."""
        return [self.count, self.least, self.most, math.fsum(self.partials) / self.count, self.last]


def _add_exactly(partials: list[float], value: float) -> None:
    kept = 0
    for partial in partials:
        large, small = (value, partial) if abs(value) >= abs(partial) else (partial, value)
        value = large + small
        error = small - (value - large)
        if error:
            partials[kept] = error
            kept += 1
    partials[kept:] = [value]


def aggregated_names(pattern: str) -> list[str]:
    """Names of the vocabulary that a pattern means: continuous quantities, as `temperature/0`; `*` and `?` as in a shell."""
    return [
        name for name, quantity in QUANTITIES.items() if quantity.value_type == "number" and fnmatchcase(name, pattern)
    ]


def rules_by_name(rules: Sequence[tuple[str, AggregateRule]]) -> Mapping[str, AggregateRule]:
    """The rule of each name; the first pattern that matches decides."""
    table: dict[str, AggregateRule] = {}
    for pattern, rule in rules:
        for name in aggregated_names(pattern):
            table.setdefault(name, rule)
    return table
