"""Values with tolerances, and what a formula gives over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity with its limits, in SI units."""

    low: float
    nominal: float
    high: float

    @classmethod
    def part(cls, nominal: float, tolerance: float) -> Range:
        """A part's value, `tolerance` as a share (0.01 for 1 %)."""
        return cls(nominal * (1 - tolerance), nominal, nominal * (1 + tolerance))

    def __post_init__(self) -> None:
        if not self.low <= self.nominal <= self.high:
            raise ValueError(f"expected low <= nominal <= high, got {self.low}, {self.nominal}, {self.high}")


def over_tolerances(formula: Callable[..., float], **parts: Range) -> Range:
    """What a formula gives nominally and over all corners of its parts.

    The extremes lie at corners because each formula here is monotonic in each part; the tests sample between them.
    """
    corners = [
        formula(**dict(zip(parts, values, strict=True)))
        for values in product(*((part.low, part.high) for part in parts.values()))
    ]
    nominal = formula(**{name: part.nominal for name, part in parts.items()})
    return Range(min(*corners, nominal), nominal, max(*corners, nominal))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a circuit's calculation: what, how, the result, and the limit that it must keep (`at_least`, `at_most`)."""

    what: str
    formula: str
    result: Range
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    why: str = ""

    @property
    def kept(self) -> bool:
        """Whether the limits hold in the worst case."""
        return (self.at_least is None or self.result.low >= self.at_least) and (
            self.at_most is None or self.result.high <= self.at_most
        )
