"""What boot.py chooses: trials, crash loops, spoiled state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.update.vm import small_bundle

if TYPE_CHECKING:
    from firmware.update.vm import UpdateBoard


@pytest.fixture
def trial(board: UpdateBoard) -> UpdateBoard:
    """1.2.0 in app_b is about to be tried, 1.1.0 in app_a is confirmed."""
    board.call("update", board.file(small_bundle("1.1.0")), "1.1.0")
    start(board)
    board.call("confirm")
    board.call("update", board.file(small_bundle("1.2.0")), "1.2.0", running="1.1.0")
    return board


def start(board: UpdateBoard, **how: bool) -> str:
    board.call("power")
    running: str = board.call("start", **how)
    return running


def test_fourth_start_without_confirmation_goes_back(trial: UpdateBoard) -> None:
    assert [start(trial) for _ in range(5)] == ["app_b", "app_b", "app_b", "app_a", "app_a"]
    assert trial.call("state")["last"] == "rolled back 1.2.0: 3 starts without a confirmation"


def test_watchdog_during_trial_goes_back_at_once(trial: UpdateBoard) -> None:
    assert [start(trial), start(trial, watchdog=True), start(trial)] == ["app_b", "app_a", "app_a"]
    assert "watchdog" in trial.call("state")["last"]


def test_watchdog_of_the_old_version_does_not_end_the_trial(trial: UpdateBoard) -> None:
    assert start(trial, watchdog=True) == "app_b"


def test_crash_during_trial_goes_back_at_once(trial: UpdateBoard) -> None:
    assert start(trial) == "app_b"
    assert trial.call("crashed") is True
    assert start(trial) == "app_a"


def test_crash_of_the_old_version_after_activation_keeps_the_trial(trial: UpdateBoard) -> None:
    assert trial.call("crashed") is False
    assert start(trial) == "app_b"


def test_confirmed_version_that_crashes_gives_way_to_the_one_before(trial: UpdateBoard) -> None:
    assert start(trial) == "app_b"
    trial.call("confirm")
    found = []
    for _ in range(3):
        found.append(start(trial))
        trial.call("crashed")
    assert [*found, start(trial)] == ["app_b", "app_b", "app_b", "app_a"]


def test_crash_loops_lead_down_to_recovery_and_out_again(trial: UpdateBoard) -> None:
    start(trial)
    trial.call("confirm")
    seen = []
    for _ in range(12):
        seen.append(start(trial))
        if seen[-1] == "recovery":
            break
        trial.call("crashed")
    assert seen == ["app_b"] * 3 + ["app_a"] * 3 + [""] * 3 + ["recovery"]
    assert start(trial) == ""


def test_crashes_between_good_times_do_not_add_up(trial: UpdateBoard) -> None:
    start(trial)
    trial.call("confirm")
    for _ in range(6):
        assert start(trial) == "app_b"
        trial.call("crashed")
        assert start(trial) == "app_b"
        trial.call("confirm")


def test_power_cuts_never_count_against_a_confirmed_version(trial: UpdateBoard) -> None:
    start(trial)
    trial.call("confirm")
    assert {start(trial) for _ in range(10)} == {"app_b"}


def test_trial_with_missing_files_goes_back(trial: UpdateBoard) -> None:
    trial.call("remove", "app_b/manifest")
    assert start(trial) == "app_a"


@pytest.mark.parametrize("spoiled", ["", "{", '{"active": "app_b"}\n00000000', "\x00\x00"])
def test_spoiled_state_runs_the_newest_confirmed_version(trial: UpdateBoard, spoiled: str) -> None:
    start(trial)
    trial.call("write", "slots.json", spoiled)
    assert start(trial) == "app_a"  # 1.2.0 is there, but it was never confirmed


def test_flipped_bit_in_the_state_is_noticed(trial: UpdateBoard) -> None:
    start(trial)
    trial.call("confirm")
    for at in range(0, 90, 7):
        trial.call("flip", "slots.json", at)
        assert start(trial) == "app_b"


def test_pin_asks_for_recovery(board: UpdateBoard) -> None:
    board.call("write", "recovery_pin.txt", "0 0")
    assert start(board) == "recovery"  # the stand-in's pins read 0
    board.call("write", "recovery_pin.txt", "0 1")
    assert start(board) == ""
    board.call("write", "recovery_pin.txt", "nonsense")
    assert start(board) == ""
