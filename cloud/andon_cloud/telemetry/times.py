"""Times and durations as people write them in a URL: RFC 3339, relative to now, milliseconds; `10s`, `1m`, `1h`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_MS_PER_UNIT: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|d|w)")
_MILLISECONDS: Final = re.compile(r"-?[0-9]{1,15}")
# RFC 3339 section 5.6; a lower-case t or z, and a space for the T, are allowed there.
_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class TimeFormatError(ValueError):
    """The text is no time or duration; the message says what is expected."""


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as `250ms`, `10s`, `1m`, `1h`, `7d` or `2w`.

    Raises:
        TimeFormatError: another form, or zero.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise TimeFormatError(f"expected a duration such as 10s, 1m or 1h, not {text[:40]!r}")
    return int(match[1]) * _MS_PER_UNIT[match[2]]


def parse_time(text: str, now_ms: int) -> int:
    """Milliseconds since the epoch of `now`, `-15m` (before now), an RFC 3339 time or a count of milliseconds.

    Args:
        text: As written in the URL, decoded.
        now_ms: The present, milliseconds since the epoch.

    Raises:
        TimeFormatError: another form. An RFC 3339 time needs its zone.
    """
    if text == "now":
        return now_ms
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    if text.startswith("-") and _DURATION.fullmatch(text[1:]):
        return now_ms - parse_duration(text[1:])
    match = _RFC3339.fullmatch(text)
    if match is not None:
        day, clock, fraction, zone = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        except ValueError as error:
            raise TimeFormatError(f"{text!r} is no date: {error}") from error
        return round(moment.timestamp()) * 1_000 + int((fraction or "0").ljust(3, "0")[:3])
    raise TimeFormatError(
        f"expected a time such as 2026-01-31T06:00:00Z, -15m, now or milliseconds since 1970, not {text[:40]!r} "
        "(in a URL, + is written %2B)"
    )
