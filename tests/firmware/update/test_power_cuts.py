"""The power fails at every block and in the middle of hundreds of flash operations: the board always ends on a good version."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from firmware.update.vm import small_bundle, small_files

if TYPE_CHECKING:
    from firmware.update.vm import UpdateBoard

OLD, NEW = "1.1.0", "1.2.0"
CUTS = 200


@pytest.fixture
def old_board(board: UpdateBoard) -> UpdateBoard:
    """Runs a confirmed OLD in app_a."""
    board.call("update", board.file(small_bundle(OLD)), OLD)
    board.call("power")
    assert board.call("start") == "app_a"
    board.call("confirm")
    return board


def check_whole(board: UpdateBoard, running: str) -> str:
    """What runs is complete and unchanged; returns its version."""
    version = {"app_a": OLD, "app_b": NEW}[running]
    assert board.slot_files(running) == small_files(version)
    return version


def test_cut_at_every_block_resumes_where_it_was(old_board: UpdateBoard) -> None:
    bundle = small_bundle(NEW)
    path = old_board.file(bundle)
    blocks = -(-len(bundle.encode()) // 512)
    outcomes = []
    asked = 0
    for _ in range(3 * blocks):
        # After each start one block more than block 0 (for its ETag) gets through, then the power fails.
        found = old_board.call("update", path, NEW, running=OLD, cut_at=3)
        outcomes.append(found["outcome"])
        asked += found["asked"]
        old_board.call("power")
        running = old_board.call("start")
        if found["outcome"] == "activated":
            break
        assert check_whole(old_board, running) == OLD
    assert outcomes[-1] == "activated"
    assert outcomes.count("cut") >= blocks - 2
    assert check_whole(old_board, running) == NEW
    # Nothing was fetched twice but block 0 and the block in which files begin.
    assert asked <= 3 * len(outcomes)
    assert len(outcomes) <= blocks


def test_cut_in_the_middle_of_flash_operations(old_board: UpdateBoard) -> None:
    rng = random.Random(4)
    path = old_board.file(small_bundle(NEW))
    old_board.call("seed", 4)
    cuts = rounds = 0
    while cuts < CUTS:
        # One round: an update with power cuts, until the new version runs; then back to the old for the next round.
        rounds += 1
        while True:
            found: dict[str, Any] = {"outcome": "cut"}
            budget = rng.choice([rng.randrange(1, 12), rng.randrange(1, 120)])
            try:
                found = old_board.call("update", path, NEW, running=OLD, budget=budget)
            except RuntimeError:
                assert old_board.call("dead")  # the power failed while the request was taken
            cuts += found["outcome"] == "cut"
            running = start_through_cuts(old_board, rng)
            version = check_whole(old_board, running)
            assert found["outcome"] in ("cut", "activated"), found
            if found["outcome"] == "activated":
                assert version == NEW
            if version == NEW:
                break
        # A trial that never gets confirmed: four starts later the old version is back.
        for _ in range(4):
            old_board.call("power")
            running = old_board.call("start")
        assert check_whole(old_board, running) == OLD
    assert rounds > 3


def start_through_cuts(board: UpdateBoard, rng: random.Random) -> str:
    """Start; now and then the power fails in the first flash operations of the start."""
    while rng.randrange(3) == 0:
        board.call("power", budget=rng.randrange(1, 6))
        try:
            board.call("start")
        except RuntimeError:
            assert board.call("dead")
        if not board.call("dead"):
            break
    board.call("power")
    running: str = board.call("start")
    return running


def test_changed_file_at_the_gateway_begins_anew(old_board: UpdateBoard) -> None:
    first = old_board.file(small_bundle(NEW, downgrade=True))
    assert old_board.call("update", first, NEW, running=OLD, cut_at=5)["outcome"] == "cut"
    old_board.call("power")
    old_board.call("start")
    other = old_board.file(small_bundle(NEW))
    assert old_board.call("update", other, NEW, running=OLD, etag="e2")["outcome"] == "activated"
    old_board.call("power")
    assert check_whole(old_board, old_board.call("start")) == NEW


def test_flipped_byte_in_what_was_loaded_is_loaded_again(old_board: UpdateBoard) -> None:
    path = old_board.file(small_bundle(NEW))
    assert old_board.call("update", path, NEW, running=OLD, cut_at=6)["outcome"] == "cut"
    old_board.call("power")
    old_board.call("start")
    old_board.call("flip", "app_b/andon_node/part0.mpy", 700)
    assert old_board.call("update", path, NEW, running=OLD)["outcome"] == "activated"
    old_board.call("power")
    assert check_whole(old_board, old_board.call("start")) == NEW
