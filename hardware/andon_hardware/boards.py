"""Pin maps: read from the firmware's own board files, checked against what the chips' makers say."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ESP_IDF: Final = "https://docs.espressif.com/projects/esp-idf/en/stable/{}/api-reference/peripherals/gpio.html"
_RAW: Final = re.compile(r"GPIO(\d+)")


_PINS_OF_A_PORT: Final = 16


class BoardFileError(Exception):
    """A board file lacks what a pin map needs; the message names file and constant."""


@dataclass(frozen=True, slots=True)
class Board:
    """A board of the firmware. Pins are numbers (GPIO numbers; on ST's Nucleo boards 16 to a port) or names."""

    name: str
    about: str
    pins: dict[str, int | str]
    relays: tuple[str, ...]
    input_only: tuple[int | str, ...]
    analog: tuple[int | str, ...]

    def raw_name(self, pin: int | str) -> str:
        """A pin as people and schematics write it: GPIO25, or PB0 on a Nucleo board."""
        if not isinstance(pin, int):
            return pin
        if self.name.startswith("nucleo-"):
            return f"P{ascii_uppercase[pin // _PINS_OF_A_PORT]}{pin % _PINS_OF_A_PORT}"
        return f"GPIO{pin}"

    def resolve(self, name: str) -> int | str | None:
        """The pin of a name such as IN1 or GPIO32; None if the board has none."""
        if name in self.pins:
            return self.pins[name]
        raw = _RAW.fullmatch(name)
        if raw is not None:
            return int(raw[1])
        return name if name in self.pins.values() else None


@dataclass(frozen=True, slots=True)
class Chip:
    """What a chip's maker says about its pins, and where."""

    name: str
    strapping: dict[int, str]
    flash: frozenset[int]
    input_only: frozenset[int]
    adc1: frozenset[int]
    adc2: frozenset[int]
    console: frozenset[int]
    usb: frozenset[int]
    missing: frozenset[int]
    source: str
    # Strapping pins that a board may use for a role, with the reason.
    tolerated: dict[str, str] = field(default_factory=dict)


def _numbers(first: int, last: int) -> frozenset[int]:
    return frozenset(range(first, last + 1))


CHIPS: Final[dict[str, Chip]] = {
    "esp32-devkit": Chip(
        "ESP32 (ESP32-WROOM-32E)",
        {
            0: "low at reset: bootloader",
            2: "high together with GPIO0 low: no bootloader",
            5: "SDIO timing; pulled up",
            12: "high at reset: flash gets 1.8 V and does not start",
            15: "low at reset: no boot messages",
        },
        _numbers(6, 11),
        _numbers(34, 39),
        _numbers(32, 39),
        frozenset({0, 2, 4, 12, 13, 14, 15, 25, 26, 27}),
        frozenset({1, 3}),
        frozenset(),
        frozenset({20, 24, 28, 29, 30, 31}),
        f"{_ESP_IDF.format('esp32')}; ESP32 datasheet, strapping pins and ADC",
        {
            "W2": "the pull-up of a 1-wire bus holds GPIO5 where the chip wants it",
            "LED": "an LED to ground holds GPIO2 where the chip wants it",
        },
    ),
    "esp32-s3": Chip(
        "ESP32-S3 (ESP32-S3-DevKitC-1)",
        {
            0: "low at reset: bootloader",
            3: "where JTAG is",
            45: "voltage of the flash",
            46: "together with GPIO0: boot mode",
        },
        _numbers(26, 32) | _numbers(33, 37),
        frozenset(),
        _numbers(1, 10),
        _numbers(11, 20),
        frozenset({43, 44}),
        frozenset({19, 20}),
        _numbers(22, 25),
        f"{_ESP_IDF.format('esp32s3')}; 33 to 37 belong to octal PSRAM where the module has it",
    ),
    "esp32-c3": Chip(
        "ESP32-C3 (ESP32-C3-DevKitM-1)",
        {2: "high at reset", 8: "low together with GPIO9 low: invalid", 9: "low at reset: bootloader"},
        _numbers(11, 17),
        frozenset(),
        _numbers(0, 4),
        frozenset({5}),
        frozenset({20, 21}),
        frozenset({18, 19}),
        frozenset(),
        f"{_ESP_IDF.format('esp32c3')}; 11 supplies the flash",
        {"LED": "the board's RGB LED is an input on GPIO8 and pulls nothing"},
    ),
}


def read(path: Path) -> Board:
    """Read a board file without running it: it is MicroPython's.

    Raises:
        BoardFileError: it has no table of pins.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                # Something computed; only the tables count here.
                continue
    if not isinstance(found.get("PINS"), dict):
        raise BoardFileError(f"{path.name}: expected a table PINS of literals")
    return Board(
        path.stem.replace("_", "-"),
        (ast.get_docstring(tree) or path.stem).split("\n", 1)[0],
        dict(found["PINS"]),
        tuple(found.get("RELAYS", ())),
        tuple(found.get("INPUT_ONLY", ())),
        tuple(found.get("ANALOG", ())),
    )


def read_all(folder: Path) -> dict[str, Board]:
    """All boards of `firmware/andon_node/boards`."""
    boards = [read(path) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    return {board.name: board for board in boards}


def complaints(board: Board) -> Iterator[str]:
    """What the chip's maker would say against a pin map; for chips that are not known here only what holds for all."""
    chip = CHIPS.get(board.name)
    for name, pin in board.pins.items():
        why = _objection(name, pin, chip) if chip is not None else None
        if why is not None:
            yield f"{name}: {board.raw_name(pin)} {why}"
    if chip is not None and set(board.input_only) != chip.input_only:
        yield "INPUT_ONLY differs from the chip's"
    if chip is not None and set(board.analog) != chip.adc1:
        yield "ANALOG differs from the chip's ADC1; ADC2 does not work beside Wi-Fi"
    if len(set(board.pins.values())) != len(board.pins):
        yield "two names for one pin"
    for name in board.relays:
        if name not in board.pins:
            yield f"RELAYS: {name} is not in PINS"


def _objection(name: str, pin: int | str, chip: Chip) -> str | None:
    if not isinstance(pin, int):
        return "is no GPIO number"
    strapping = pin in chip.strapping and name not in chip.tolerated
    objections = {
        "belongs to the flash": pin in chip.flash,
        "does not exist": pin in chip.missing,
        "is the console's": pin in chip.console | chip.usb,
        f"is a strapping pin ({chip.strapping.get(pin, '')})": strapping,
        "cannot drive": pin in chip.input_only and not name.startswith("IN"),
    }
    return next((words for words, applies in objections.items() if applies), None)


def render(boards: dict[str, Board]) -> str:
    """The pin maps as a page."""
    lines = [
        "# Pin maps",
        "",
        "Generated by `make hardware` from [`firmware/andon_node/boards/`](../firmware/andon_node/boards), the files that the firmware itself uses;",
        "`tests/hardware` compares them. The name is what stands in `config.json` and on the enclosure.",
        "",
    ]
    for board in boards.values():
        chip = CHIPS.get(board.name)
        lines += [
            f"## {board.name}",
            "",
            board.about.rstrip(".") + ".",
            "",
            "| name | pin | use | remark |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {board.raw_name(pin)} | {_use(name, board, chip)} | {_remark(name, pin, board, chip)} |"
            for name, pin in board.pins.items()
        ]
        lines.append("")
        if chip is not None:
            lines += [*_constraints(chip), ""]
    return "\n".join(lines).rstrip() + "\n"


def _use(name: str, board: Board, chip: Chip | None) -> str:
    if name in board.relays:
        return "relay driver, high is on"
    if name.startswith("W"):
        return "1-wire bus, 4.7 kΩ to 3V3"
    if name.startswith("IN"):
        # Other boards have buttons of their own there; their file says how.
        return "input, low is active" if chip is not None else "input"
    return "status" if name == "LED" else ""


def _remark(name: str, pin: int | str, board: Board, chip: Chip | None) -> str:
    words = []
    if pin in board.input_only:
        words.append("input only, no pull")
    if pin in board.analog:
        words.append("ADC")
    if chip is not None and isinstance(pin, int) and pin in chip.strapping:
        words.append(f"strapping pin: {chip.tolerated.get(name, chip.strapping[pin])}")
    return ", ".join(words)


def _constraints(chip: Chip) -> list[str]:
    def listed(pins: frozenset[int]) -> str:
        return ", ".join(str(pin) for pin in sorted(pins)) or "none"

    strapping = "; ".join(f"{pin} ({why})" for pin, why in sorted(chip.strapping.items()))
    return [
        f"{chip.name}. Source: {chip.source}.",
        "",
        f"- strapping pins: {strapping}",
        f"- flash (and PSRAM): {listed(chip.flash)}",
        f"- input only: {listed(chip.input_only)}",
        f"- ADC1: {listed(chip.adc1)}; ADC2, not beside Wi-Fi: {listed(chip.adc2)}",
        f"- console: {listed(chip.console | chip.usb)}",
    ]
