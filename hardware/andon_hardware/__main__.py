"""`make hardware`: checks, calculates, draws, and writes the generated pages."""

from __future__ import annotations

import sys
from pathlib import Path

import schemdraw

from andon_hardware import boards, bom, circuits, harness, schematics

HARDWARE = Path(__file__).resolve().parents[1]
BOARD_FILES = HARDWARE.parent / "firmware/andon_node/boards"


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    return {
        "circuits.md": circuits.render(),
        "pins.md": boards.render(boards.read_all(BOARD_FILES)),
        "bom.md": bom.render(bom.read(HARDWARE / "bom.csv")),
    }


def draw(folder: Path) -> list[Path]:
    """Draw all schematics and harnesses as SVG into a folder; return the files.

    Raises:
        FileNotFoundError: Graphviz is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    schemdraw.use("svg")
    drawn = []
    for name in schematics.DRAWINGS:
        drawn.append(folder / f"{name}.svg")
        schematics.save(name, drawn[-1])
    for path in harness_files():
        drawn.append(folder / f"harness-{path.stem}.svg")
        harness.render(path, drawn[-1])
    return drawn


def harness_files() -> list[Path]:
    """The WireViz files."""
    return sorted((HARDWARE / "harness").glob("*.yml"))


def complaints() -> list[str]:
    """Everything that does not agree: pin maps with chips, harnesses with pin maps, figures with their limits."""
    known = boards.read_all(BOARD_FILES)
    found = [f"{board.name}: {words}" for board in known.values() for words in boards.complaints(board)]
    for path in harness_files():
        found += harness.complaints(harness.read(path), known)
    for circuit in circuits.CIRCUITS:
        found += [f"{circuit.title}: {figure.what}: limit not kept" for figure in circuit.figures() if not figure.kept]
    return found


def main() -> int:
    """Do everything; the exit status is 1 when something does not agree."""
    found = complaints()
    for words in found:
        sys.stderr.write(f"{words}\n")
    if found:
        return 1
    for name, text in pages().items():
        (HARDWARE / name).write_text(text, encoding="utf-8")
    try:
        drawn = draw(HARDWARE / "drawings")
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(pages())} pages and {len(drawn)} drawings written to {HARDWARE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
