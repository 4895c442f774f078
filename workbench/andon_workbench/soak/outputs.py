"""Seconds in which an output was energised without a valid lease. Pure.

An output may be on from the execution of a command, which cannot be later than the command's expiry, for the command's
lease, and not longer than the hold time after the gateway fell silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_workbench.world.relay import ContactChange

TOLERANCE_S = 1.0
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class LeasedCommand:
    """A command that switches an output out of its safe state: when it was issued (CLOCK_MONOTONIC), how long it is valid, its lease."""

    issued_us: int
    expires_s: float
    lease_s: float


@dataclass(frozen=True, slots=True)
class Interval:
    """From `start_us` to `end_us`."""

    start_us: int
    end_us: int


def energised(contacts: Sequence[ContactChange], relay: int, end_us: int) -> list[Interval]:
    """When the relay's coil was on: its normally closed contact was open. What is on at the end is taken to end then."""
    intervals: list[Interval] = []
    since: int | None = None
    for change in contacts:
        if change.relay != relay:
            continue
        if not change.closed and since is None:
            since = change.time_us
        elif change.closed and since is not None:
            intervals.append(Interval(since, change.time_us))
            since = None
    if since is not None:
        intervals.append(Interval(since, end_us))
    return intervals


def unsafe_s(
    intervals: Sequence[Interval],
    commands: Sequence[LeasedCommand],
    silences: Sequence[Interval],
    hold_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> float:
    """Seconds in all in which the output was on although no lease or hold allowed it, beyond the tolerance each time."""
    return sum(_beyond(interval, commands, silences, hold_s, tolerance_s) for interval in intervals)


def _beyond(
    interval: Interval,
    commands: Sequence[LeasedCommand],
    silences: Sequence[Interval],
    hold_s: float,
    tolerance_s: float,
) -> float:
    allowed_us = interval.start_us
    for command in commands:
        if command.issued_us > interval.end_us:
            continue
        # Executed when the contact closed; if it came later, to renew the lease, then at its expiry at the latest.
        expiry_us = command.issued_us + round((command.expires_s + tolerance_s) * _SECOND_US)
        if expiry_us >= interval.start_us:
            executed_us = interval.start_us if command.issued_us <= interval.start_us else expiry_us
            allowed_us = max(allowed_us, executed_us + round(command.lease_s * _SECOND_US))
    for silence in silences:
        hold_us = silence.start_us + round(hold_s * _SECOND_US)
        if silence.start_us <= interval.end_us and interval.start_us <= hold_us < silence.end_us:
            allowed_us = min(allowed_us, hold_us)
    beyond_us = interval.end_us - allowed_us - round(tolerance_s * _SECOND_US)
    return max(0, beyond_us) / _SECOND_US
