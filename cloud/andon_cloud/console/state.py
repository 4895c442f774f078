"""What state a machine is in, told from its readings alone: no I/O, no clock.

States carry the names of the PackML state model (ANSI/ISA-TR88.00.02) where one fits; the time a machine spends in them
is what ISO 22400-2 calls production time (running), delay (idle) and down time (stopped, fault).

| state | PackML | told from |
|---|---|---|
| offline | - | no reading for `offline_after_s` |
| fault | Aborted | sensor fault, or temperature at or above `over_temperature_c` |
| stopped | Stopped | relay contact open: somebody or a rule has stopped the machine |
| running | Execute | a cycle counted within `idle_after_s` (longer for slow machines, see `Thresholds`) |
| idle | Idle | everything else: ready, but no cycle |

The rows are in order of precedence: the first that is true decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MachineState(StrEnum):
    """State of a machine as the andon light shows it."""

    RUNNING = "running"
    IDLE = "idle"
    STOPPED = "stopped"
    FAULT = "fault"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits that separate the states.

    Attributes:
        offline_after_s: Seconds without any reading after which the machine counts as offline.
        idle_after_s: Seconds without a cycle after which a machine counts as idle.
        idle_after_cycles: A slow machine gets this many of its mean cycle times instead, when that is longer.
        over_temperature_c: Temperature (degC) from which on the machine counts as faulty; the node's default interlock.
    """

    offline_after_s: float = 30.0
    idle_after_s: float = 30.0
    idle_after_cycles: float = 3.0
    over_temperature_c: float = 85.0


@dataclass(frozen=True, slots=True)
class Readings:
    """What is known of a machine now. Times are milliseconds since the epoch; None means never seen.

    Attributes:
        last_seen_ms: Time of the newest reading of any kind.
        temperature_c: Newest temperature in degC.
        sensor_fault: Name of the present sensor fault (`absent`, `crc`, `power-on`, `range`), None when it is well.
        contacts_closed: State of each relay contact that was read back.
        last_cycle_ms: When the cycle counter was last seen to have grown.
        mean_cycle_s: Mean time of one cycle in seconds.
    """

    last_seen_ms: int | None = None
    temperature_c: float | None = None
    sensor_fault: str | None = None
    contacts_closed: tuple[bool, ...] = ()
    last_cycle_ms: int | None = None
    mean_cycle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A state and, in a few words for the staff, why."""

    state: MachineState
    reason: str


_JITTER_S = 1

SENSOR_FAULTS = {
    "absent": "Sensor not found",
    "crc": "Sensor signal disturbed",
    "power-on": "Sensor supply interrupted",
    "range": "Sensor out of range",
}


_STALE = Condition(MachineState.OFFLINE, "No data from the node")
_NEVER_SEEN = Condition(MachineState.OFFLINE, "No data yet")


def derive_condition(readings: Readings, now_ms: int, thresholds: Thresholds | None = None) -> Condition:
    """Tell the machine's state from its readings at the time `now_ms` (milliseconds since the epoch)."""
    limits = thresholds or Thresholds()
    if readings.last_seen_ms is None:
        return _NEVER_SEEN
    if age_s(readings.last_seen_ms, now_ms) > limits.offline_after_s:
        return _STALE
    fault = _fault(readings, limits)
    if fault is not None:
        return Condition(MachineState.FAULT, fault)
    if not all(readings.contacts_closed):
        return Condition(MachineState.STOPPED, "Stopped by relay")
    if _cycling(readings, now_ms, limits):
        return Condition(MachineState.RUNNING, "Producing")
    return Condition(MachineState.IDLE, "No cycles")


def _fault(readings: Readings, limits: Thresholds) -> str | None:
    if readings.sensor_fault is not None:
        return SENSOR_FAULTS.get(readings.sensor_fault, f"Sensor: {readings.sensor_fault}")
    if readings.temperature_c is not None and readings.temperature_c >= limits.over_temperature_c:
        return f"Over {limits.over_temperature_c:g} °C"
    return None


def _cycling(readings: Readings, now_ms: int, limits: Thresholds) -> bool:
    if readings.last_cycle_ms is None:
        return False
    patience_s = max(limits.idle_after_s, limits.idle_after_cycles * (readings.mean_cycle_s or 0.0))
    return age_s(readings.last_cycle_ms, now_ms) <= patience_s


def age_s(time_ms: int, now_ms: int) -> float:
    """Age in seconds; 0 for a time ahead of our clock (a node's clock may run a little fast)."""
    return max(0, now_ms - time_ms) / 1000


def age_text(time_ms: int | None, now_ms: int) -> str:
    """Age for people: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`, or `never`."""
    if time_ms is None:
        return "never"
    seconds = int(age_s(time_ms, now_ms))
    if seconds <= _JITTER_S:
        return "now"
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} ago"
    return "now"
