"""Six kinds of machines, with cycle times shortened so that a demo of seconds shows a working factory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.world.pulses import Pulse
from andon_workbench.world.thermal import ThermalBody

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class CycleTime:
    """Lognormal cycle time, never below `shortest_s`; `sigma` is the standard deviation of its logarithm."""

    median_s: float
    sigma: float
    shortest_s: float

    @property
    def mean_s(self) -> float:
        """Expected value of the distribution, the lower limit left out of account."""
        return self.median_s * math.exp(self.sigma**2 / 2)

    def draw_s(self, rng: Random) -> float:
        """One cycle time in seconds."""
        return max(self.shortest_s, rng.lognormvariate(math.log(self.median_s), self.sigma))


@dataclass(frozen=True, slots=True)
class MinorStops:
    """Jams and misfeeds that operators clear at once: exponential time between them (in work) and to clear them."""

    mean_between_s: float
    mean_length_s: float


@dataclass(frozen=True, slots=True)
class MachineKind:
    """What one kind of machine does; `debounce_ms` is the setting its node needs for the kind's contact, 0 if electronic.

    A `thermocouple` measures the casing as well, on channel 1; a `guard_door` has a contact, open while the door is.
    """

    name: str
    label: str
    cycle: CycleTime
    stops: MinorStops
    thermal: ThermalBody
    pulse: Pulse
    relay_delay_ms: float = 6.0
    thermocouple: bool = False
    guard_door: bool = False

    @property
    def debounce_ms(self) -> int:
        """Debounce time for the pulse input: four times the longest bounce, far below the shortest pulse."""
        return math.ceil(4 * self.pulse.bounce_ms)


PRESS = MachineKind(
    "press",
    "Injection moulding press",
    CycleTime(2.4, 0.08, 0.8),
    MinorStops(240.0, 6.0),
    ThermalBody(21.0, 34.0, 0.45, 90.0),
    Pulse(width_ms=180.0, bounce_ms=5.0, active_level=0),
    relay_delay_ms=8.0,
)
MILL = MachineKind(
    "mill",
    "CNC mill",
    CycleTime(4.5, 0.22, 1.5),
    MinorStops(180.0, 8.0),
    ThermalBody(21.0, 19.0, 0.2, 60.0),
    Pulse(width_ms=60.0),
)
STAMP = MachineKind(
    "stamp",
    "Stamping press",
    CycleTime(0.55, 0.05, 0.25),
    MinorStops(60.0, 4.0),
    ThermalBody(22.0, 15.0, 0.1, 40.0),
    Pulse(width_ms=25.0),
)
OVEN = MachineKind(
    "oven",
    "Heat-treatment oven",
    CycleTime(6.0, 0.12, 3.0),
    MinorStops(600.0, 10.0),
    # Passes through 85 degC, the value that a DS18B20 also shows after power-on: a real one must not be refused.
    ThermalBody(24.0, 66.0, 0.8, 150.0),
    Pulse(width_ms=400.0, bounce_ms=6.0, active_level=0),
    relay_delay_ms=10.0,
    thermocouple=True,
)
PACKER = MachineKind(
    "packer",
    "Packaging line",
    CycleTime(0.35, 0.15, 0.12),
    MinorStops(25.0, 3.0),
    ThermalBody(20.0, 11.0, 0.1, 30.0),
    Pulse(width_ms=20.0),
)
ROBOT = MachineKind(
    "robot",
    "Assembly robot",
    CycleTime(1.8, 0.3, 0.6),
    MinorStops(90.0, 5.0),
    ThermalBody(21.0, 14.0, 0.3, 50.0),
    Pulse(width_ms=90.0, bounce_ms=3.0, active_level=0),
    guard_door=True,
)

KINDS = (PRESS, MILL, STAMP, OVEN, PACKER, ROBOT)
