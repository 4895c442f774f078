from __future__ import annotations

from dataclasses import replace

import pytest

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.console import words
from andon_cloud.console.feed import CommandView, RelayView
from andon_cloud.console.state import MachineState

COMMAND = CommandView(
    id="c1",
    relay=0,
    state=False,
    status=CommandStatus.SENT,
    lease_s=600,
    reason="tool change",
    actor="anna",
    created_ms=1_000,
    times={CommandStatus.QUEUED: 1_000, CommandStatus.SENT: 5_000},
)


def test_every_state_and_status_has_a_word_and_an_icon() -> None:
    assert set(words.STATE_SIGNS) == set(MachineState)
    assert set(words.COMMAND_SIGNS) == set(CommandStatus)
    icons = [sign.icon for sign in words.STATE_SIGNS.values()]
    assert len(set(icons)) == len(icons)


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [(None, 0, "\u2013"), (0, 0, "0"), (1234567, 0, "1\u202f234\u202f567"), (41.26, 1, "41.3"), (-3.0, 1, "-3.0")],
)
def test_numbers_are_grouped(value: float | None, decimals: int, expected: str) -> None:
    assert words.number(value, decimals) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "\u2013"), (0.0, "0.0"), (12.34, "12.3"), (99.9, "99.9"), (420.4, "420")]
)
def test_rates_have_the_digits_worth_reading(value: float | None, expected: str) -> None:
    assert words.rate(value) == expected


def test_the_command_line_tells_state_wish_actor_and_age_of_the_state() -> None:
    assert words.command_line(COMMAND, 9_000) == "Sent: open · anna · 4 s ago"
    assert words.command_line(None, 9_000) == "No command yet"


def test_a_failed_command_says_why() -> None:
    failed = replace(COMMAND, status=CommandStatus.FAILED, detail="the contact does not follow")
    assert words.command_line(failed, 1_000).endswith("the contact does not follow")


def test_commanded_is_shown_while_it_differs_from_actual() -> None:
    assert words.relay_line(RelayView(0, closed=True, command=COMMAND)) == "Closed: machine may run · commanded: open"
    assert words.relay_line(RelayView(0, closed=False, command=COMMAND)) == "Open: machine stopped"
    done = replace(COMMAND, status=CommandStatus.CONFIRMED)
    assert words.relay_line(RelayView(0, closed=True, command=done)) == "Closed: machine may run"
    assert words.relay_line(RelayView(0, closed=None)) == "Contact not reported yet"


@pytest.mark.parametrize(("seconds", "expected"), [(28_800, "8 h"), (900, "15 min"), (5_400, "90 min"), (45, "45 s")])
def test_leases_are_told_for_people(seconds: int, expected: str) -> None:
    assert words.lease(seconds) == expected
