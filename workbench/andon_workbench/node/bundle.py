"""The firmware as files for a board: from the checkout, as sources or compiled with mpy-cross."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from andon_workbench.bundle.build import compile_source
from andon_workbench.bundle.format import BundleError
from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# MicroPython looks for these two by name; they cannot be compiled.
ROOT_FILES: Final = ("boot.py", "main.py")
_PACKAGES: Final = "andon_*"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Board paths and their content."""

    files: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.files.values()))

    def digest(self, path: str) -> bytes:
        """SHA-256 of one file."""
        return hashlib.sha256(self.files[path]).digest()

    @property
    def packages(self) -> list[str]:
        """The folders that belong to the firmware alone."""
        return sorted({path.split("/", 1)[0] for path in self.files if "/" in path})


def build_bundle(firmware: Path, *, compiled: bool) -> Bundle:
    """Collect the firmware: `boot.py`, `main.py` and every package `andon_*`.

    Raises:
        NodeError: a source does not compile; nothing would run.
    """
    files = {name: (firmware / name).read_bytes() for name in ROOT_FILES}
    for source in _sources(firmware):
        name = source.relative_to(firmware).as_posix()
        if compiled:
            try:
                files[name.removesuffix(".py") + ".mpy"] = compile_source(source.read_text(), name)
            except BundleError as error:
                raise NodeError(str(error)) from None
        else:
            files[name] = source.read_bytes()
    return Bundle(files)


def _sources(firmware: Path) -> Iterator[Path]:
    for package in sorted(firmware.glob(_PACKAGES)):
        yield from sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)
