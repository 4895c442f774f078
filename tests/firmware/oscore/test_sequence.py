"""Sender sequence numbers: never one twice, whatever happens to power, process or flash (RFC 8613 7.2, B.1.1)."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from firmware.oscore.vm import HERE, BoardError, board_command, board_environment, micropython
from parts import require_part

if TYPE_CHECKING:
    from firmware.oscore.vm import Board

MAX_STEP = 4096
MAX_NUMBER = 2**40 - 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_number_is_reused_over_a_thousand_power_cuts(seed: int) -> None:
    require_part("micropython", found=micropython() is not None, how="make dev")
    ran = subprocess.run(
        board_command(HERE / "board_power_cuts.py", str(seed), "1000"),
        env=board_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    report = json.loads(ran.stdout)
    assert report["cuts"] == 1000
    assert report["taken"] > 10_000
    assert report["damaged"] > 100  # one file truncated, flipped or removed between two starts
    assert report["reused"] == 0
    # numbers are not wasted without end either: a start skips one step, after damage one step of 4096
    assert (
        report["highest"] < report["taken"] + 40 * (report["cuts"] + report["stops"]) + 2 * MAX_STEP * report["damaged"]
    )


def test_no_number_is_reused_when_the_process_is_killed(tmp_path: Path) -> None:
    require_part("micropython", found=micropython() is not None, how="make dev")
    chance = random.Random(8613)
    path = str(tmp_path / "oscore")
    taken: list[int] = []
    for start in range(25):
        process = subprocess.Popen(
            board_command(HERE / "board_take_numbers.py", path, "7", "create" if start == 0 else "go on"),
            env=board_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        wanted = chance.randrange(1, 200)
        taken += [int(process.stdout.readline()) for _ in range(wanted)]
        process.kill()
        rest, _ = process.communicate(timeout=10)
        taken += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    assert len(taken) > 25
    assert len(set(taken)) == len(taken)
    assert taken == sorted(taken)


@pytest.mark.parametrize("seed", range(8))
def test_no_message_is_ever_encrypted_with_a_used_nonce(board: Board, seed: int) -> None:
    counts = board.call("nonce_storm", seed, 500)
    assert counts["twice"] == 0
    assert counts["sealed"] > 500
    assert min(counts["restarts"], counts["challenges"], counts["refused"]) > 10


def test_a_step_costs_one_write_and_a_restart_skips_its_rest(board: Board, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    board.call("store", path, "create")
    assert board.call("store", path, "take", 10, 3) == [0, 1, 2]
    assert board.call("store", path, "take", 10, 12) == list(range(10, 22))
    assert board.call("store", path, "load") == 30


def test_only_provisioning_begins_at_zero(board: Board, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert refusal(board, path, "load") == "SequenceLostError"
    board.call("store", path, "create")
    assert refusal(board, path, "create") == "SequenceError"
    Path(path + ".0").unlink()
    assert refusal(board, path, "create") == "SequenceError"
    Path(path + ".1").unlink()
    assert refusal(board, path, "load") == "SequenceLostError"


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 12, 15, 17, None])
def test_a_spoiled_file_costs_a_step_and_not_a_number(
    board: Board, tmp_path: Path, slot: int, size: int | None
) -> None:
    path = str(tmp_path / "s")
    board.call("store", path, "create")
    used = board.call("store", path, "take", MAX_STEP, 3 * MAX_STEP)
    spoiled = Path(f"{path}.{slot}")
    if size is None:
        spoiled.unlink()
    else:
        spoiled.write_bytes((spoiled.read_bytes() + b"x")[:size])
    again = board.call("store", path, "take", 1, 2)
    assert again[0] > used[-1]
    assert board.call("store", path, "load") >= again[-1]


def test_flipped_bits_are_noticed(board: Board, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    board.call("store", path, "create")
    used = board.call("store", path, "take", 5, 23)
    files = [Path(f"{path}.{slot}") for slot in (0, 1)]
    whole = [file.read_bytes() for file in files]
    for slot, bit in ((slot, bit) for slot in (0, 1) for bit in range(128)):
        changed = bytearray(whole[slot])
        changed[bit // 8] ^= 1 << bit % 8
        files[slot].write_bytes(changed)
        files[1 - slot].write_bytes(whole[1 - slot])
        assert board.call("store", path, "load") > used[-1], (slot, bit)


def test_both_files_spoiled_means_new_keys(board: Board, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    board.call("store", path, "create")
    for slot in (0, 1):
        Path(f"{path}.{slot}").write_bytes(b"\xff" * 16)
    assert refusal(board, path, "load") == "SequenceLostError"


def test_nothing_is_sent_when_the_flash_fails(board: Board, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    board.call("store", path, "create")
    for slot in (0, 1):  # a folder in place of the file: every write fails, for root too
        Path(f"{path}.{slot}").rename(tmp_path / f"kept{slot}")
    (tmp_path / "kept0").rename(path + ".0")
    Path(path + ".1").mkdir()
    assert refusal(board, path, "take", 10, 1) == "SequenceError"


@pytest.mark.parametrize("step", [0, MAX_STEP + 1])
def test_steps_have_bounds(board: Board, tmp_path: Path, step: int) -> None:
    path = str(tmp_path / "s")
    board.call("store", path, "create")
    assert refusal(board, path, "reserve", step) == "SequenceError"
    assert refusal(board, path, "take", step, 1) == "ValueError"


def test_numbers_end_at_the_limit_of_the_nonce(board: Board) -> None:
    assert board.call("take_at", MAX_NUMBER - 1, 2) == [MAX_NUMBER - 1, MAX_NUMBER]
    with pytest.raises(BoardError) as refused:
        board.call("take_at", MAX_NUMBER, 2)
    assert refused.value.kind == "SequenceError"


def refusal(board: Board, path: str, action: str, *numbers: int) -> str:
    with pytest.raises(BoardError) as refused:
        board.call("store", path, action, *numbers)
    return refused.value.kind
