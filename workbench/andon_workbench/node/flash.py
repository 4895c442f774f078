"""`andon node flash`: MicroPython onto the chip. Real chips by esptool; an emulated board's flash is an image file."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Protocol

from andon_workbench.errors import MissingPartError
from andon_workbench.node.errors import NodeError
from andon_workbench.node.link import BoardLink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# Where the image begins: the ESP-IDF bootloader's offset, by chip.
OFFSETS: Final = {"esp32": "0x1000", "esp32s2": "0x1000", "esp32s3": "0x0", "esp32c3": "0x0", "esp32c6": "0x0"}
_BAUD: Final = "460800"
_IMAGE_MAGIC: Final = 0xE9
_BLOCK: Final = 65_536


class Flasher(Protocol):
    """Erases a board and writes what a new board starts with."""

    def flash(self, progress: Callable[[int, int], None]) -> None:
        """Do it; `progress` is told bytes done and bytes in all where that is known."""


class EsptoolFlasher:
    """A real ESP32 on a real port: esptool erases the chip and writes the image."""

    def __init__(self, port: str, chip: str, image: Path, run: Callable[[Sequence[str]], int] | None = None) -> None:
        """Prepare.

        Raises:
            MissingPartError: esptool is not installed.
            NodeError: the image is none.
        """
        if run is None and importlib.util.find_spec("esptool") is None:
            raise MissingPartError("esptool is missing; get it with: pip install 'andon-workbench[flash]'")
        try:
            with image.open("rb") as file:
                first = file.read(1)
        except OSError as error:
            raise NodeError(f"--image {image}: {error.strerror}") from error
        if first != bytes([_IMAGE_MAGIC]):
            raise NodeError(
                f"--image {image}: no ESP32 image; take the .bin of your board from MicroPython's download page"
            )
        self._port = port
        self._chip = chip
        self._image = image
        self._run = run if run is not None else _run_esptool

    def flash(self, progress: Callable[[int, int], None]) -> None:
        """Erase, write, verify (esptool compares the chip's own hash of what it has written).

        Raises:
            NodeError: esptool failed; it has said why.
        """
        del progress  # esptool draws its own
        common = ["--chip", self._chip, "--port", self._port, "--baud", _BAUD]
        for step in (["erase-flash"], ["write-flash", OFFSETS[self._chip], str(self._image)]):
            if self._run([*common, *step]):
                raise NodeError(
                    f"{self._port}: esptool could not {step[0].replace('-', ' ')}. Hold BOOT (GPIO0) while pressing EN/RST, "
                    "let go, and try again; is --chip right?"
                )


class ImageFlasher:
    """An emulated board: its flash is erased in the image file while it stands at its prompt, then it is reset.

    MicroPython itself is the unix port and needs no writing.
    """

    def __init__(self, port: str, image: Path) -> None:
        """Prepare.

        Raises:
            NodeError: there is no such image.
        """
        if not image.is_file():
            raise NodeError(f"--emulated {image}: expected the flash image of the board that runs on {port}")
        self._port = port
        self._image = image

    def flash(self, progress: Callable[[int, int], None]) -> None:
        """Erase all blocks."""
        size = self._image.stat().st_size
        # At its prompt the board writes nothing; the restart on leaving makes it mount what is then there.
        with BoardLink(self._port), self._image.open("r+b") as image:
            for at in range(0, size, _BLOCK):
                image.write(b"\xff" * min(_BLOCK, size - at))
                progress(min(at + _BLOCK, size), size)


def _run_esptool(arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "esptool", *arguments], check=False).returncode
