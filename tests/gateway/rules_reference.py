"""What alarm rules mean, written down a second time: slow, from the whole history, sharing nothing with the gateway's code."""

from __future__ import annotations

from typing import Any

Sample = tuple[int, float]
Event = tuple[int, bool, float]


def in_time_order(samples: list[Sample]) -> list[Sample]:
    """Readings in the order of arrival, without those that are not newer than everything before."""
    return [item for index, item in enumerate(samples) if all(item[0] > earlier[0] for earlier in samples[:index])]


def events(rule: dict[str, Any], samples: list[Sample]) -> list[Event]:
    """Events that the readings, in the order of their arrival, must give."""
    history = in_time_order(samples)
    found: list[Event] = []
    start = 0  # first reading after the last event
    for now in range(len(history)):
        active = bool(found) and found[-1][1]
        delay_s = rule.get("off_delay_s" if active else "on_delay_s", 0)
        # The state changes if every known verdict since some reading says so, and that one is old enough.
        for first in range(start, now + 1):
            verdicts = [verdict(rule, history[: index + 1], active=active) for index in range(first, now + 1)]
            known = [item for item in verdicts if item is not None]
            if verdicts[0] is None or verdicts[-1] is None or any(item[0] == active for item in known):
                continue
            if history[now][0] - history[first][0] >= delay_s * 1000:
                found.append((history[now][0], not active, verdicts[-1][1]))
                start = now + 1
                break
    return found


def verdict(rule: dict[str, Any], history: list[Sample], *, active: bool) -> tuple[bool, float] | None:
    """Whether the last reading of the history is abnormal, and the number to show."""
    time_ms, value = history[-1]
    give = rule.get("deadband", 0) if active else 0
    kind = rule["type"]
    if kind in ("high", "high-high"):
        return value > rule["setpoint"] - give, value
    if kind in ("low", "low-low"):
        return value < rule["setpoint"] + give, value
    if kind == "stuck":
        begin = still_since(rule, history)
        return time_ms - begin[0] >= rule["duration_s"] * 1000, value
    window = [item for item in history[:-1] if item[0] >= time_ms - rule["window_s"] * 1000]
    if not window or time_ms - window[0][0] < rule["window_s"] * 500:
        return None
    rate = (value - window[0][1]) / (time_ms - window[0][0]) * 60_000
    moved = {"rising": rate, "falling": -rate, "either": abs(rate)}[rule.get("direction", "either")]
    return moved > rule["setpoint"] - give, rate


def still_since(rule: dict[str, Any], history: list[Sample]) -> Sample:
    """The reading from which on none differed from it by more than the deadband, without a gap as long as the duration."""
    if len(history) == 1:
        return history[0]
    before = still_since(rule, history[:-1])
    gap_ms = history[-1][0] - history[-2][0]
    moved = abs(history[-1][1] - before[1]) > rule.get("deadband", 0)
    return history[-1] if moved or gap_ms > rule["duration_s"] * 1000 else before
