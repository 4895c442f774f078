from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_cloud.telemetry.times import TimeFormatError, parse_duration, parse_time

NOW = 1_764_000_000_123


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-15m", NOW - 900_000),
        ("-1w", NOW - 604_800_000),
        ("-5", -5),
        ("1764000000000", 1_764_000_000_000),
        # RFC 3339 section 5.8: the two spellings of one moment, and the fraction.
        ("1985-04-12T23:20:50.52Z", 482_196_050_520),
        ("1996-12-19T16:39:57-08:00", 851_042_397_000),
        ("1996-12-20T00:39:57Z", 851_042_397_000),
        ("1996-12-20 00:39:57.1239z", 851_042_397_123),
        ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "15m", "--15m", "-15 m", "2026-01-31", "2026-01-31T06:00:00", "2026-13-01T00:00:00Z", "1e3",
     "2026-01-31T06:00:00 01:00", "٣", "1764000000000000000000", "2026-01-31T24:00:00Z", "-0s", "NaN"],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(TimeFormatError, match=r"expected|no date"):
        parse_time(text, NOW)


@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)),  # noqa: DTZ001  # the zone is drawn separately
    st.integers(-23 * 60, 23 * 60),
)
def test_every_moment_is_read_as_datetime_reads_it(naive: datetime, offset_min: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_time(moment.isoformat(timespec="microseconds"), NOW) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("250ms", 250), ("10s", 10_000), ("1m", 60_000), ("1h", 3_600_000), ("7d", 604_800_000)]
)
def test_durations(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "0s", "10", "s", "-1m", "1.5h", "1y", "1M", "1 m", "1m30s", "٣s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(TimeFormatError, match="expected a duration such as 10s"):
        parse_duration(text)
