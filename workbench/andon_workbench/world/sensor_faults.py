"""Faults of a temperature sensor and its cable, drawn in advance from a seeded generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from andon_workbench.registers import RegisterFile

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Mean time between disturbed transmissions (1 to 4 reads with a flipped bit) and between brown-outs, in seconds."""

    flips_every_s: float = 20.0
    brown_out_every_s: float = 45.0


class SensorFaults:
    """Applies the faults that are due to one sensor."""

    def __init__(self, rates: FaultRates, rng: Random, start_us: int) -> None:
        self._rates = rates
        self._rng = rng
        self._next_flip_us = start_us + self._wait_us(rates.flips_every_s)
        self._next_brown_out_us = start_us + self._wait_us(rates.brown_out_every_s)

    def apply(self, registers: RegisterFile, sensor: int, now_us: int) -> None:
        """Disturb the sensor if a fault is due at `now_us`."""
        if now_us >= self._next_flip_us:
            registers.flip_next_reads(sensor, self._rng.randint(1, 4))
            self._next_flip_us = now_us + self._wait_us(self._rates.flips_every_s)
        if now_us >= self._next_brown_out_us:
            registers.brown_out(sensor)
            self._next_brown_out_us = now_us + self._wait_us(self._rates.brown_out_every_s)

    def _wait_us(self, mean_s: float) -> int:
        return round(self._rng.expovariate(1.0 / mean_s) * _SECOND_US)
