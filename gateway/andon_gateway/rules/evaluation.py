"""What a rule makes of one channel's readings: a state machine on sample time. Pure.

An alarm becomes active when the condition has held from one reading to another one at least `on_delay_s` later, and returns to
normal likewise after `off_delay_s`; a reading in between that says otherwise starts the delay anew. Between two readings the earlier one counts.
Once active, the condition holds until the value is back by the deadband (ISA-18.2).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Final

from andon_gateway.rules.document import AbsoluteRule, NoDataRule, RateRule, Rule, SampleRule, StuckRule

WINDOW_POINTS: Final = 32
"""A rate's window is remembered by so many readings at most, about evenly spaced."""
_MINUTE_MS: Final = 60_000
_encode = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would build one each time


@dataclass(slots=True)
class Memory:
    """What is known of one channel under one rule.

    Attributes:
        newest_ms: Time of the newest reading that was looked at; -1: none.
        active: Whether the alarm is active.
        since_ms: Since when readings ask for the other state; None: they do not.
        event_ms: Time of the last event; -1: none.
        points: Rate of change: readings of the window, `[time_ms, value]`.
        anchor: Stuck: the reading that no later one differed from, `[time_ms, value]`.
        act_ms: By the gateway's clock, from when on the relay action is due (again); 0: at once.
        command: Id of the last relay command.
    """

    newest_ms: int = -1
    active: bool = False
    since_ms: int | None = None
    event_ms: int = -1
    points: list[list[float]] = field(default_factory=list)
    anchor: list[float] | None = None
    act_ms: int = 0
    command: str = ""

    def to_text(self) -> str:
        """For the database."""
        values = (
            self.newest_ms,
            self.active,
            self.since_ms,
            self.event_ms,
            self.points,
            self.anchor,
            self.act_ms,
            self.command,
        )
        return _encode(values)

    @classmethod
    def from_text(cls, text: str) -> Memory:
        """The inverse of `to_text`."""
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True)
class Transition:
    """An alarm became active or returned to normal.

    Attributes:
        time_ms: Of the reading that did it; for no-data by the gateway's clock.
        active: The new state.
        value: The reading, the rate per minute, or for no-data the age of the newest reading in seconds.
    """

    time_ms: int
    active: bool
    value: float


def take(rule: SampleRule, memory: Memory, time_ms: int, value: float) -> Transition | None:
    """Look at the next reading of a channel; one that is not newer than the newest changes nothing."""
    if time_ms <= memory.newest_ms:
        return None
    verdict = _judge(rule, memory, time_ms, value)
    memory.newest_ms = time_ms
    if verdict is None:
        return None
    abnormal, shown = verdict
    if abnormal == memory.active:
        memory.since_ms = None
        return None
    if memory.since_ms is None:
        memory.since_ms = time_ms
    delay_s = rule.off_delay_s if memory.active else rule.on_delay_s
    if time_ms - memory.since_ms < delay_s * 1000:
        return None
    # Only after `set_back` may a reading be older than the last event.
    return _step(memory, Transition(max(time_ms, memory.event_ms + 1), abnormal, shown))


def set_back(memory: Memory) -> None:
    """The gateway's clock was set back: times from before it are worth nothing, the alarm is as active as it was."""
    memory.newest_ms = -1
    memory.since_ms = None
    memory.points.clear()
    memory.anchor = None
    memory.act_ms = 0


def hear(rule: NoDataRule, memory: Memory, time_ms: int, arrival_ms: int) -> Transition | None:
    """A reading under a no-data rule has arrived; the alarm ends when it is fresh, not with the first of an old backlog."""
    memory.newest_ms = max(memory.newest_ms, min(time_ms, arrival_ms))
    age_ms = max(0, arrival_ms - memory.newest_ms)
    if not memory.active or age_ms > rule.timeout_s * 1000:
        return None
    return _step(memory, Transition(max(arrival_ms, memory.event_ms + 1), False, age_ms / 1000))


def silent_from_ms(rule: NoDataRule, memory: Memory, watched_ms: int) -> int:
    """When a channel's silence becomes an alarm, unless it is heard before; `watched_ms` is since when somebody listens."""
    return max(memory.newest_ms, watched_ms) + math.ceil(rule.timeout_s * 1000)


def fall_silent(rule: NoDataRule, memory: Memory, now_ms: int, watched_ms: int) -> Transition | None:
    """Look at the gateway's clock."""
    due_ms = silent_from_ms(rule, memory, watched_ms)
    if memory.active or now_ms < due_ms:
        return None
    age_ms = due_ms - memory.newest_ms if memory.newest_ms >= 0 else rule.timeout_s * 1000
    return _step(memory, Transition(max(due_ms, memory.event_ms + 1), True, age_ms / 1000))


def withdraw(memory: Memory, now_ms: int) -> Transition | None:
    """The rule is gone or another one now: an active alarm returns to normal; only later readings count from here."""
    if not memory.active:
        return None
    end_ms = max(now_ms, memory.newest_ms, memory.event_ms + 1)
    return _step(memory, Transition(end_ms, False, 0.0))


def setpoint_of(rule: Rule) -> float:
    """What the event's value is compared with, in the value's unit; for a stuck sensor the duration in seconds."""
    if isinstance(rule, NoDataRule):
        return rule.timeout_s
    return rule.duration_s if isinstance(rule, StuckRule) else rule.setpoint


def _step(memory: Memory, transition: Transition) -> Transition:
    memory.active = transition.active
    memory.since_ms = None
    memory.event_ms = transition.time_ms
    return transition


def _judge(rule: SampleRule, memory: Memory, time_ms: int, value: float) -> tuple[bool, float] | None:
    """Whether the condition holds, and the value to show; None: nothing can be said."""
    match rule:
        case AbsoluteRule():
            sign = 1 if rule.type in ("high", "high-high") else -1
            return sign * value > sign * rule.setpoint - (rule.deadband if memory.active else 0.0), value
        case RateRule():
            rate = _rate_per_minute(rule, memory, time_ms, value)
            if rate is None:
                return None
            moved = abs(rate) if rule.direction == "either" else rate if rule.direction == "rising" else -rate
            return moved > rule.setpoint - (rule.deadband if memory.active else 0.0), rate
        case StuckRule():
            return _stands_still(rule, memory, time_ms, value), value


def _rate_per_minute(rule: RateRule, memory: Memory, time_ms: int, value: float) -> float | None:
    """Change since the oldest reading in the window; None while the readings span less than half of it."""
    window_ms = rule.window_s * 1000
    points = memory.points
    while points and points[0][0] < time_ms - window_ms:
        del points[0]
    first = points[0] if points else None
    if not points or time_ms - points[-1][0] >= window_ms / WINDOW_POINTS:
        points.append([time_ms, value])
    if first is None or time_ms - first[0] < window_ms / 2:
        return None
    rate = (value - first[1]) / (time_ms - first[0]) * _MINUTE_MS
    return rate if math.isfinite(rate) else None


def _stands_still(rule: StuckRule, memory: Memory, time_ms: int, value: float) -> bool:
    """Whether no reading differed from an earlier one for the duration. A gap of that length says nothing, and starts anew."""
    duration_ms = rule.duration_s * 1000
    anchor = memory.anchor
    if anchor is None or abs(value - anchor[1]) > rule.deadband or time_ms - memory.newest_ms > duration_ms:
        anchor = memory.anchor = [time_ms, value]
    return time_ms - anchor[0] >= duration_ms
