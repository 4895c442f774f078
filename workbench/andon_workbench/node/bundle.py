"""The firmware as files for a board: from the checkout, as sources or compiled as for an update."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.bundle.build import PACKAGES, ROOT_FILES, compile_firmware
from andon_workbench.bundle.format import BundleError
from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
    """Collect the firmware: `boot.py`, `main.py`, the base and the application.

    Raises:
        NodeError: a source does not compile; nothing would run.
    """
    if compiled:
        try:
            return Bundle(compile_firmware(firmware))
        except BundleError as error:
            raise NodeError(str(error)) from None
    sources = [firmware / name for name in ROOT_FILES]
    for package in PACKAGES:
        sources += sorted((firmware / package).rglob("*.py"))
    return Bundle({path.relative_to(firmware).as_posix(): path.read_bytes() for path in sources})
