"""Seconds in which an output was energised without a valid lease. Pure.

An output may be on from the execution of a command, which cannot be later than the command's expiry, for the command's
lease, and not longer than the hold time after the gateway fell silent. What counts is when the board drove the coil, and of the time
after the allowed one only that in which the board could run (turns.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.soak.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_workbench.world.relay import ContactChange

TOLERANCE_S = 1.0
_SECOND_US = 1_000_000


@dataclass(slots=True)
class LeasedCommand:
    """A command that switches an output out of its safe state: when it was issued (CLOCK_MONOTONIC), how long it is valid, its lease.

    `final_us`: when it was known that it is not executed any more; None where nobody knows.
    """

    issued_us: int
    expires_s: float
    lease_s: float
    final_us: int | None = None

    def last_us(self, tolerance_s: float) -> int:
        """It was executed then at the latest."""
        expiry_us = self.issued_us + round((self.expires_s + tolerance_s) * _SECOND_US)
        return expiry_us if self.final_us is None else min(expiry_us, self.final_us)


@dataclass(frozen=True, slots=True)
class Interval:
    """From `start_us` to `end_us`."""

    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Excess:
    """Seconds beyond lease, hold and tolerance: `unsafe_s` in which the board could run, `host_s` in which the host kept it from running."""

    unsafe_s: float = 0.0
    host_s: float = 0.0

    def __add__(self, other: Excess) -> Excess:
        return Excess(self.unsafe_s + other.unsafe_s, self.host_s + other.host_s)


def energised(contacts: Sequence[ContactChange], relay: int, end_us: int) -> list[Interval]:
    """When the relay's coil was on: its normally closed contact was open. What is on at the end is taken to end then."""
    intervals: list[Interval] = []
    since: int | None = None
    for change in contacts:
        if change.relay != relay:
            continue
        if not change.closed and since is None:
            since = change.coil_us
        elif change.closed and since is not None:
            intervals.append(Interval(since, change.coil_us))
            since = None
    if since is not None:
        intervals.append(Interval(since, end_us))
    return intervals


def excess(
    intervals: Sequence[Interval],
    commands: Sequence[LeasedCommand],
    silences: Sequence[Interval],
    hold_s: float,
    turns: Turns | None = None,
    tolerance_s: float = TOLERANCE_S,
) -> Excess:
    """The time in all in which the output was on although no lease or hold allowed it, beyond the tolerance each time."""
    turns = turns or Turns()
    found = Excess()
    for interval in intervals:
        allowed_us = min(_leased_until(interval, commands, tolerance_s), _held_until(interval, silences, hold_s, turns))
        late_us = interval.end_us - allowed_us - round(tolerance_s * _SECOND_US)
        if late_us > 0:
            unsafe_us = max(0, late_us - turns.kept_us(allowed_us, interval.end_us))
            found += Excess(unsafe_us / _SECOND_US, (late_us - unsafe_us) / _SECOND_US)
    return found


def _leased_until(interval: Interval, commands: Sequence[LeasedCommand], tolerance_s: float) -> int:
    possible = [
        command
        for command in commands
        if command.issued_us <= interval.end_us and command.last_us(tolerance_s) >= interval.start_us
    ]
    first = [command for command in possible if command.issued_us <= interval.start_us]
    until_us = interval.start_us
    for command in possible:
        # The only one there was when the coil came on brought it on; any other may have renewed the lease, as late as it could.
        executed_us = interval.start_us if first == [command] else command.last_us(tolerance_s)
        until_us = max(until_us, executed_us + round(command.lease_s * _SECOND_US))
    return until_us


def _held_until(interval: Interval, silences: Sequence[Interval], hold_s: float, turns: Turns) -> int:
    until_us = interval.end_us
    for silence in silences:
        # What the gateway said last may lie in the board's socket until the host lets the board look.
        hold_us = turns.seen_us(silence.start_us) + round(hold_s * _SECOND_US)
        if silence.start_us <= interval.end_us and interval.start_us <= hold_us < silence.end_us:
            until_us = min(until_us, hold_us)
    return until_us
