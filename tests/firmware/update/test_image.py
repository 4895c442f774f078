"""Whole images through `esp32.Partition`, on a model of the chip's bootloader."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from firmware.update.vm import SITE_KEY, UpdateBoard

from andon_workbench.bundle.format import Bundle, Kind
from andon_workbench.bundle.keys import sign

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = bytes(range(1, 250)) * 200


def image_bundle(version: str, content: bytes = IMAGE) -> Bundle:
    return sign(Bundle(version, {"image": content}, Kind.IMAGE, mpy="-", arch="any"), SITE_KEY)


@pytest.fixture
def chip(board: UpdateBoard, tmp_path: Path) -> UpdateBoard:
    board.chip = str(tmp_path / "chip")  # type: ignore[attr-defined]
    start(board)
    return board


def start(board: UpdateBoard) -> list[str]:
    board.call("power")
    board.call("chip", board.chip)  # type: ignore[attr-defined]
    board.call("start")
    found: list[str] = board.call("image")
    return found


def test_image_is_tried_and_confirmed(chip: UpdateBoard) -> None:
    assert chip.call("update", chip.file(image_bundle("1.1.0")), "1.1.0")["outcome"] == "activated"
    assert start(chip) == ["ota_1", IMAGE[:16].hex()]
    found = chip.call("update", chip.file(image_bundle("1.2.0")), "1.2.0", running="1.1.0")
    assert found["refused"] == 0x89
    assert chip.call("guard", works=True) == []
    assert start(chip)[0] == "ota_1"
    assert start(chip)[0] == "ota_1"


def test_image_that_does_not_work_is_left_by_the_bootloader(chip: UpdateBoard) -> None:
    chip.call("update", chip.file(image_bundle("1.1.0")), "1.1.0")
    assert start(chip)[0] == "ota_1"
    assert chip.call("guard", works=False) == ["rollback: not confirmed within 0 s"]
    assert start(chip)[0] == "ota_0"
    assert chip.call("guard", works=True) == []


def test_image_that_dies_is_left_by_the_bootloader(chip: UpdateBoard) -> None:
    chip.call("update", chip.file(image_bundle("1.1.0")), "1.1.0")
    assert [start(chip)[0] for _ in range(3)] == ["ota_1", "ota_0", "ota_0"]
    found = chip.call("update", chip.file(image_bundle("1.2.0")), "1.2.0")
    assert found["outcome"] == "activated"


def test_power_cuts_while_an_image_is_fetched(chip: UpdateBoard) -> None:
    rng = random.Random(7)
    path = chip.file(image_bundle("1.1.0"))
    asked = 0
    for _ in range(60):
        found = chip.call("update", path, "1.1.0", cut_at=rng.randrange(2, 25))
        asked += found["asked"]
        running = start(chip)
        if found["outcome"] == "activated":
            break
        assert running[0] == "ota_0"
    assert running == ["ota_1", IMAGE[:16].hex()]
    blocks = len(IMAGE) // 1024
    assert asked < 4 * blocks  # resumed, at most one flash block behind


@pytest.mark.parametrize("at", [0, len(IMAGE) - 1])
def test_changed_image_is_refused(chip: UpdateBoard, at: int) -> None:
    data = bytearray(image_bundle("1.1.0").encode())
    data[len(data) - len(IMAGE) + at] ^= 1
    found = chip.call("update", chip.file(bytes(data)), "1.1.0")
    assert (found["outcome"], "image" in found["why"]) == ("failed", True)
    assert start(chip)[0] == "ota_0"


def test_too_large_image_is_refused(chip: UpdateBoard) -> None:
    found = chip.call("update", chip.file(image_bundle("1.1.0", bytes(70000))), "1.1.0")
    assert "larger than its partition" in found["why"]
