"""First-order thermal model: a machine's casing warms with its work and cools towards the hall."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThermalBody:
    """Lumped capacity with one time constant: tau dT/dt = T_steady - T (Newton's law of cooling).

    `rise_k` is the steady rise above ambient at full work, `idle_share` the part of it that remains while the machine
    stands (heaters, hydraulics), `tau_s` the time constant.
    """

    ambient_c: float
    rise_k: float
    idle_share: float
    tau_s: float

    def steady_c(self, activity: float) -> float:
        """Temperature that is reached in the end at a constant `activity` of 0 (standing) to 1 (full work)."""
        return self.ambient_c + self.rise_k * (self.idle_share + (1.0 - self.idle_share) * activity)

    def after(self, temperature_c: float, activity: float, seconds: float) -> float:
        """Temperature after `seconds` at constant `activity`: the exact solution, so the step's size does not matter."""
        steady = self.steady_c(activity)
        return steady + (temperature_c - steady) * math.exp(-seconds / self.tau_s)
