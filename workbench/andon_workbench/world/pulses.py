"""The signal of one machine cycle: a clean electronic pulse, or a mechanical contact that bounces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.registers import Edge

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Pulse:
    """Shape of a cycle's signal; `bounce_ms` is 0 for electronic outputs.

    A contact bounces after closing and after opening, for at most `bounce_ms` each. The shortest bounce is 50 us: what
    is shorter than 12.8 us never passes the ESP32's hardware filter.
    """

    width_ms: float
    bounce_ms: float = 0.0
    active_level: int = 1

    @property
    def longest_us(self) -> int:
        """Time from the first edge to the end of the last bounce, at most."""
        return round((self.width_ms + self.bounce_ms) * 1000)

    def edges(self, start_us: int, rng: Random) -> list[Edge]:
        """The edges of one cycle whose contact closes first at `start_us`; levels alternate, times grow."""
        release_us = start_us + round(self.width_ms * 1000)
        return [
            *self._transition(start_us, self.active_level, rng),
            *self._transition(release_us, 1 - self.active_level, rng),
        ]

    def _transition(self, at_us: int, level: int, rng: Random) -> list[Edge]:
        edges = [Edge(at_us, level)]
        end_us = at_us + round(self.bounce_ms * 1000)
        if self.bounce_ms <= 0:
            return edges
        for _ in range(rng.randint(1, 5)):
            lift_us = edges[-1].time_us + rng.randint(50, 900)
            land_us = lift_us + rng.randint(50, 400)
            if land_us > end_us:
                break
            edges += [Edge(lift_us, 1 - level), Edge(land_us, level)]
        return edges
