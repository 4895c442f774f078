"""Ten minutes of a small plant as line protocol, with every figure that a panel shows known in advance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTES = 10
STEP_S = 2
SILENT_FOR_S = 180
"""How long before the end the silent machine's node stopped sending."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine with its node; `per_minute` is what its counter really does."""

    name: str
    area: str
    line: str
    per_minute: int
    base_c: float
    silent: bool = False
    sensors: int = 1

    @property
    def tags(self) -> str:
        """Tags common to all of its points."""
        return f"area={self.area},line={self.line},machine={self.name},node={self.name},site=demo"

    @property
    def state(self) -> str:
        """What the overview must say of it."""
        return "silent" if self.silent else "running" if self.per_minute else "stopped"


MACHINES = (
    Machine("press-1", "forming", "l1", per_minute=30, base_c=45),
    Machine("press-10", "forming", "l1", per_minute=15, base_c=52, sensors=2),
    Machine("mill-1", "cutting", "l2", per_minute=6, base_c=60),
    Machine("lathe-1", "cutting", "l2", per_minute=0, base_c=24),
    Machine("oven-1", "heat", "l3", per_minute=3, base_c=88),
    Machine("saw-1", "cutting", "l2", per_minute=12, base_c=35, silent=True),
)

HOTTEST = "oven-1"
FAULTY = "mill-1"
RELAY_OFF = "lathe-1"
QUEUE_PEAK = 7


def total_at(machine: Machine, second: int) -> int:
    """The counter at a moment: whole cycles since the beginning, on top of an earlier life's count."""
    return 1000 + machine.per_minute * second // 60


def temperature_at(machine: Machine, second: int, sensor: int = 0) -> float:
    """A slow wave of one degree; the second sensor is 5 degC cooler."""
    return round(machine.base_c - 5 * sensor + math.sin(second / 60), 4)


def cycles_in(machine: Machine) -> int:
    """Cycles between the machine's first and last reading."""
    return total_at(machine, last_second(machine)) - total_at(machine, 0)


def last_second(machine: Machine) -> int:
    """When its node sent for the last time, in seconds after the start."""
    return MINUTES * 60 - (SILENT_FOR_S if machine.silent else STEP_S)


def line_protocol(stop: datetime) -> str:
    """The whole period up to `stop`, in milliseconds."""
    start = stop - timedelta(minutes=MINUTES)
    lines: list[str] = []
    for machine in MACHINES:
        for second in range(0, last_second(machine) + 1, STEP_S):
            at = int((start + timedelta(seconds=second)).timestamp() * 1000)
            lines.extend(_readings(machine, second, at))
    return "\n".join(lines)


def _readings(machine: Machine, second: int, at: int) -> list[str]:
    lines = [
        f"temperature,channel={sensor},{machine.tags} celsius={temperature_at(machine, second, sensor)} {at}"
        for sensor in range(machine.sensors)
    ]
    lines.append(f"cycles,channel=0,{machine.tags} total={total_at(machine, second)}i {at}")
    on = "false" if machine.name == RELAY_OFF and second >= 300 else "true"
    lines.append(f"relay,channel=0,{machine.tags} on={on} {at}")
    if second % 30 == 0:
        queued = QUEUE_PEAK if machine.name == FAULTY and second == 240 else 0
        lines.append(
            f"node,{machine.tags} heap_free={100_000 - second}i,rssi={-50 - second % 7}i,uptime_s={second}i,"
            f"queued={queued}i,rejected=0i,boots=3i {at}"
        )
    if machine.name == FAULTY and second in {120, 150}:
        lines.append(f'temperature,channel=0,{machine.tags} fault="{"crc" if second == 120 else "ok"}" {at}')
    return lines
