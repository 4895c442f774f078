"""Pin maps, harnesses and pages: made from the firmware's board files, and in agreement with them and with the chips."""

from __future__ import annotations

import copy
import runpy
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from parts import require_part

from andon_hardware import __main__ as hardware
from andon_hardware import boards, harness
from andon_hardware.boards import CHIPS, Board, BoardFileError

if TYPE_CHECKING:
    from pathlib import Path

BOARDS = boards.read_all(hardware.BOARD_FILES)
HARNESSES = [harness.read(path) for path in hardware.harness_files()]
FILES = sorted(path for path in hardware.BOARD_FILES.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_read_as_the_firmware_reads_it(path: Path) -> None:
    """The reader does not run the file; running it gives the same tables."""
    ran = runpy.run_path(str(path))
    board = boards.read(path)
    assert board.pins == ran["PINS"]
    assert board.relays == tuple(ran["RELAYS"])
    assert set(board.analog) == set(ran["ANALOG"])
    assert set(board.input_only) == set(ran["INPUT_ONLY"])


def test_every_board_that_the_firmware_knows_is_in_the_page() -> None:
    names = runpy.run_path(str(hardware.BOARD_FILES / "__init__.py"))["NAMES"]
    assert set(names) <= set(BOARDS)
    page = (hardware.HARDWARE / "pins.md").read_text()
    for name in names:
        assert f"## {name}\n" in page


def test_all_agrees() -> None:
    assert hardware.complaints() == []


@pytest.mark.parametrize("name", ["circuits.md", "pins.md", "bom.md"])
def test_page_is_what_would_be_generated_now(name: str) -> None:
    assert (hardware.HARDWARE / name).read_text() == hardware.pages()[name], "run: make hardware"


# From Espressif's documents, written down here once more: ESP-IDF API reference, GPIO, for each chip.
@pytest.mark.parametrize(
    ("name", "strapping", "flash", "adc1"),
    [
        ("esp32-devkit", {0, 2, 5, 12, 15}, {6, 7, 8, 9, 10, 11}, set(range(32, 40))),
        ("esp32-s3", {0, 3, 45, 46}, set(range(26, 38)), set(range(1, 11))),
        ("esp32-c3", {2, 8, 9}, set(range(11, 18)), set(range(5))),
    ],
)
def test_no_relay_or_input_on_a_pin_that_means_something_at_reset(
    name: str, strapping: set[int], flash: set[int], adc1: set[int]
) -> None:
    board = BOARDS[name]
    taken = {pin for label, pin in board.pins.items() if label.startswith(("IN", "RELAY"))}
    assert not taken & (strapping | flash)
    assert set(board.analog) == adc1
    assert set(CHIPS[name].strapping) == strapping


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"IN1": 6}, "belongs to the flash"),
        ({"IN1": 12}, "strapping pin"),
        ({"RELAY1": 34}, "cannot drive"),
        ({"IN1": 1}, "console's"),
        ({"IN1": 24}, "does not exist"),
        ({"IN1": 33}, "two names for one pin"),
        ({"IN1": "A5"}, "no GPIO number"),
    ],
)
def test_bad_pin_map_is_found(change: dict[str, int | str], words: str) -> None:
    board = BOARDS["esp32-devkit"]
    found = list(boards.complaints(replace(board, pins={**board.pins, **change})))
    assert any(words in complaint for complaint in found)


def test_other_tables_of_a_pin_map_are_compared_too() -> None:
    board = BOARDS["esp32-devkit"]
    assert any("ADC2" in words for words in boards.complaints(replace(board, analog=(*board.analog, 4))))
    assert any("INPUT_ONLY" in words for words in boards.complaints(replace(board, input_only=())))
    assert any("RELAYS" in words for words in boards.complaints(replace(board, relays=("RELAY9",))))


def test_board_of_another_maker_is_taken(tmp_path: Path) -> None:
    """Sixteen pins to a port, names, and something computed: all that a generator may assume is PINS."""
    path = tmp_path / "nucleo_f429zi.py"
    path.write_text(
        '"""NUCLEO-F429ZI."""\nPINS = {"IN1": 45, "IN2": "A5", "LED": 16}\nRELAYS = ("LED",)\nOTHER = len(PINS)\n'
    )
    board = boards.read(path)
    assert (board.name, board.about, board.pins["IN2"]) == ("nucleo-f429zi", "NUCLEO-F429ZI.", "A5")
    assert list(boards.complaints(board)) == []
    page = boards.render({board.name: board})
    # PC13 is the button and PB0 an LED of that board (ST UM1974).
    for line in ("| IN1 | PC13 | input |", "| IN2 | A5 | input |", "| LED | PB0 |"):
        assert line in page
    path.write_text("X = 1\n")
    with pytest.raises(BoardFileError, match="expected a table PINS"):
        boards.read(path)


def with_label(document: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    text = yaml.safe_dump(document).replace(old, new)
    changed = yaml.safe_load(text)
    assert isinstance(changed, dict)
    return changed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("IN1 GPIO32", "IN1 GPIO33", "IN1 of esp32-devkit is GPIO32, not GPIO33"),
        ("IN1 GPIO32", "IN9 GPIO32", "has no pin IN9"),
        ("IN1 GPIO32", "GPIO32 PULSE", "GPIO32 has a name"),
        ("IN1 GPIO32", "pulse", "expected NAME PIN"),
        ("subtype: esp32-devkit", "subtype: esp8266", "no board esp8266"),
    ],
)
def test_harness_that_differs_from_the_pin_map_is_found(old: str, new: str, words: str) -> None:
    wifi = next(item for item in HARNESSES if item.name == "wifi-din")
    changed = harness.Harness("changed", with_label(wifi.document, old, new))
    assert any(words in complaint for complaint in harness.complaints(changed, BOARDS))


def test_pin_that_goes_nowhere_is_found() -> None:
    document = copy.deepcopy(HARNESSES[0].document)
    document["connections"] = document["connections"][:-1]
    assert any("goes nowhere" in words for words in harness.complaints(harness.Harness("cut", document), BOARDS))


def test_three_kinds_of_node_have_a_harness() -> None:
    assert [(item.name, item.board) for item in HARNESSES] == [
        ("clip-on", "esp32-c3"),
        ("rs485", "esp32-devkit"),
        ("wifi-din", "esp32-devkit"),
    ]


def test_wired_node_uses_free_pins_of_the_chip() -> None:
    """TX and RX stand in the harness as raw pins: no strapping or flash pin, no pin of a PSRAM module, and one that can drive."""
    wired = next(item for item in HARNESSES if item.name == "rs485")
    raw = {label.split()[1]: int(label.split()[0][4:]) for label in wired.labels if label.startswith("GPIO")}
    chip = CHIPS["esp32-devkit"]
    assert raw.keys() == {"TX", "RX"}
    for pin in raw.values():
        assert pin not in {*chip.strapping, *chip.flash, *chip.console, *chip.missing, 16, 17}
    assert raw["TX"] not in chip.input_only


def test_drawings_are_what_would_be_drawn_now(tmp_path: Path) -> None:
    """The words of every drawing; where Graphviz puts them differs between its versions."""
    require_part("graphviz", found=shutil.which("dot") is not None, how="make deps-test")
    drawn = hardware.draw(tmp_path)
    committed = hardware.HARDWARE / "drawings"
    assert {path.name for path in drawn} == {path.name for path in committed.glob("*.svg")}
    for path in drawn:
        assert words_of(path) == words_of(committed / path.name), f"{path.name}: run: make hardware"
        assert len(words_of(path)) > 8


def words_of(path: Path) -> list[str]:
    texts = ET.parse(path).iter()  # noqa: S314  our own drawings
    found = ["".join(element.itertext()).strip() for element in texts if element.tag.endswith("}text")]
    return sorted(words for words in found if words)


def test_board_resolves_names() -> None:
    board = Board("b", "", {"IN1": 32, "X": "C13"}, (), (), ())
    assert [board.resolve(name) for name in ("IN1", "GPIO4", "C13", "Y")] == [32, 4, "C13", None]
