"""The wiring harnesses: WireViz files, read, compared with the pin maps and rendered."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from wireviz.wireviz import parse  # type: ignore[import-untyped]  # has no types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from andon_hardware.boards import Board

# The connector that stands for the controller board in each file; its subtype is the firmware's name of the board.
CONTROLLER: Final = "A1"
_SUPPLY: Final = ("5V", "3V3", "GND")
# IN1 GPIO32, or a raw pin with its use: GPIO22 TX.
_NAMED: Final = re.compile(r"([A-Z]+\d?) (GPIO\d+|P[A-K]\d+)")
_RAW: Final = re.compile(r"(GPIO\d+|P[A-K]\d+) [A-Z0-9+ ]+")


@dataclass(frozen=True, slots=True)
class Harness:
    """One file's content."""

    name: str
    document: dict[str, Any]

    @property
    def board(self) -> str:
        """The firmware's name of the controller board."""
        return str(self.document["connectors"][CONTROLLER]["subtype"])

    @property
    def labels(self) -> list[str]:
        """The controller's pin labels."""
        return [str(label) for label in self.document["connectors"][CONTROLLER]["pinlabels"]]


def read(path: Path) -> Harness:
    """Read a harness."""
    return Harness(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))


def complaints(harness: Harness, boards: dict[str, Board]) -> Iterator[str]:
    """Where a harness differs from the pin map of its board."""
    board = boards.get(harness.board)
    if board is None:
        yield f"{harness.name}: no board {harness.board} in firmware/andon_node/boards"
        return
    for label in harness.labels:
        if label in _SUPPLY:
            continue
        named, raw = _NAMED.fullmatch(label), _RAW.fullmatch(label)
        if named is not None:
            pin = board.pins.get(named[1])
            if pin is None:
                yield f"{harness.name}: {board.name} has no pin {named[1]}"
            elif board.raw_name(pin) != named[2]:
                yield f"{harness.name}: {named[1]} of {board.name} is {board.raw_name(pin)}, not {named[2]}"
        elif raw is None:
            yield f"{harness.name}: {label}: expected NAME PIN or PIN USE"
        elif raw[1] in {board.raw_name(pin) for pin in board.pins.values()}:
            yield f"{harness.name}: {raw[1]} has a name on {board.name}"
    yield from _loose_ends(harness)


def _loose_ends(harness: Harness) -> Iterator[str]:
    """Pins of the controller that the harness names but does not connect."""
    connected: set[str] = set()
    for chain in harness.document["connections"]:
        for part in chain:
            for name, pins in part.items() if isinstance(part, dict) else ():
                if name == CONTROLLER:
                    connected.update(str(pin) for pin in (pins if isinstance(pins, list) else [pins]))
    yield from (
        f"{harness.name}: {label} of {CONTROLLER} goes nowhere" for label in harness.labels if label not in connected
    )


def render(path: Path, target: Path) -> None:
    """Draw a harness as SVG.

    Args:
        path: The WireViz file.
        target: The SVG file to write.

    Raises:
        FileNotFoundError: Graphviz's `dot` is not installed.
    """
    if shutil.which("dot") is None:
        raise FileNotFoundError("dot is missing: apt-get install graphviz (make deps-test)")
    with tempfile.TemporaryDirectory(prefix="andon-harness-") as folder, contextlib.redirect_stdout(io.StringIO()):
        parse(path, output_formats=("svg",), output_dir=folder, output_name=path.stem)
        text = (Path(folder) / f"{path.stem}.svg").read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
