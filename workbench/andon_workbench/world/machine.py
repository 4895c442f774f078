"""One simulated machine: cycles, minor stops and heat, as a pure model of time."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from andon_workbench.registers import Edge
    from andon_workbench.world.kinds import MachineKind

_SECOND_US = 1_000_000


class MachineState(StrEnum):
    """What the machine does now."""

    RUNNING = "running"
    MINOR_STOP = "minor-stop"
    HELD = "held"
    STOPPED = "stopped"


class Machine:
    """A machine of a kind, at rest until `start_up`. Time is passed in (microseconds, growing); chance comes from the given generator.

    While the run-enable loop is open (`released` false) the machine is held: its work stands still where it was. A
    pulse that has begun is finished, because the contact is a part that moves on its own.
    """

    def __init__(self, kind: MachineKind, rng: Random, start_us: int) -> None:
        self.kind = kind
        self.cycles = 0
        self.state = MachineState.STOPPED
        self._rng = rng
        self._now_us = start_us
        self._temperature_c = kind.thermal.steady_c(rng.uniform(0.2, 0.7))
        self._cycle_left_us = self._draw_cycle_us()
        self._work_left_us = self._draw_us(kind.stops.mean_between_s)
        self._stop_left_us = 0
        self._waiting: deque[Edge] = deque()
        self._at_work = False

    @property
    def temperature_c(self) -> float:
        """Casing temperature, as the body has it: without the sensor's noise and steps."""
        return self._temperature_c

    @property
    def quiet(self) -> bool:
        """Whether the machine does not work and its last pulse is over."""
        return not self._at_work and not self._waiting

    def measured_raw(self) -> int:
        """The temperature as a DS18B20 sees it: a little noise, in steps of 1/16 degC."""
        return round((self._temperature_c + self._rng.gauss(0.0, 0.04)) * 16)

    def start_up(self) -> None:
        """Begin to work, as at the start of a shift."""
        self._at_work = True

    def shut_down(self) -> None:
        """End the work, as at the end of a shift; a pulse that has begun is finished."""
        self._at_work = False

    def advance(self, now_us: int, *, released: bool) -> list[Edge]:
        """Let the machine live until `now_us` and return the edges of its cycle signal that happened meanwhile."""
        while self._now_us < now_us:
            self._now_us = self._live(self._now_us, now_us, released=released)
        due: list[Edge] = []
        while self._waiting and self._waiting[0].time_us <= now_us:
            due.append(self._waiting.popleft())
        return due

    def _live(self, from_us: int, to_us: int, *, released: bool) -> int:
        """Live until the next event or `to_us`; return the time that was reached."""
        if not self._at_work:
            self._rest(MachineState.STOPPED, to_us - from_us)
            return to_us
        if not released:
            self._rest(MachineState.HELD, to_us - from_us)
            return to_us
        if self._stop_left_us > 0:
            step = min(self._stop_left_us, to_us - from_us)
            self._stop_left_us -= step
            self._rest(MachineState.MINOR_STOP, step)
            return from_us + step
        step = min(self._cycle_left_us, self._work_left_us, to_us - from_us)
        self.state = MachineState.RUNNING
        self._warm(1.0, step)
        self._cycle_left_us -= step
        self._work_left_us -= step
        if self._cycle_left_us == 0:
            self._finish_cycle(from_us + step)
        if self._work_left_us == 0:
            self._work_left_us = self._draw_us(self.kind.stops.mean_between_s)
            self._stop_left_us = self._draw_us(self.kind.stops.mean_length_s)
        return from_us + step

    def _finish_cycle(self, at_us: int) -> None:
        self.cycles += 1
        self._waiting.extend(self.kind.pulse.edges(at_us, self._rng))
        self._cycle_left_us = self._draw_cycle_us()

    def _rest(self, state: MachineState, step_us: int) -> None:
        self.state = state
        self._warm(0.0, step_us)

    def _warm(self, activity: float, step_us: int) -> None:
        self._temperature_c = self.kind.thermal.after(self._temperature_c, activity, step_us / _SECOND_US)

    def _draw_cycle_us(self) -> int:
        return round(self.kind.cycle.draw_s(self._rng) * _SECOND_US)

    def _draw_us(self, mean_s: float) -> int:
        return max(1, round(self._rng.expovariate(1.0 / mean_s) * _SECOND_US))
