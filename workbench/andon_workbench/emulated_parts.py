"""What an emulated board is made of, compiled: the firmware as it is put onto a flash, and the board's own modules as a ROMFS image.

Compiled files run in place from mapped flash (docs/emulation.md), so that a board needs no more heap than a real one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpremote.romfs import VfsRomWriter  # type: ignore[import-untyped]  # has no types

from andon_workbench.bundle import build
from andon_workbench.bundle.build import PACKAGES, ROOT_FILES, compile_firmware, compile_package

_HARDWARE: Final = "sim"
_CACHE: Final = Path(".cache/emulated")


@dataclass(frozen=True, slots=True)
class EmulatedParts:
    """Folder of the firmware, and the image of the board's own modules (None: they are compiled when the board starts)."""

    firmware: Path
    hardware: Path | None


def emulated_parts(firmware: Path, cache: Path | None = None) -> EmulatedParts:
    """Compile the parts, unless these very sources were compiled before.

    Args:
        firmware: The sources. Without the packages in it nothing is compiled, and boards get it as it is.
        cache: Where the results are kept; by default in the checkout that holds the sources.

    Raises:
        BundleError: a source does not compile.
    """
    if not all((firmware / package).is_dir() for package in (*PACKAGES, _HARDWARE)):
        return EmulatedParts(firmware, None)
    kept = (cache or firmware.parent / _CACHE) / _digest(firmware)
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=kept.parent))
        _compile(firmware, fresh)
        try:
            fresh.rename(kept)
        except OSError:
            # Another process was quicker with the same.
            shutil.rmtree(fresh)
    return EmulatedParts(kept / "firmware", kept / "hardware.romfs")


def install(firmware: Path, target: Path, version: str | None = None) -> dict[str, bytes]:
    """Compile the firmware into a folder, as it goes onto a blank board; return the files by name."""
    files = compile_firmware(firmware, version)
    for name, content in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return files


def hardware_image(firmware: Path) -> bytes:
    """The board's own modules as a ROMFS image."""
    writer = VfsRomWriter()
    for name, content in compile_package(firmware, package=_HARDWARE).items():
        writer.mkfile(name.removeprefix(f"{_HARDWARE}/"), content)
    return bytes(writer.finalise())


def _compile(firmware: Path, target: Path) -> None:
    install(firmware, target / "firmware")
    (target / "hardware.romfs").write_bytes(hardware_image(firmware))


def _digest(firmware: Path) -> str:
    # The way of compiling is a part of the result.
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(build.__file__).parent.glob("*.py"))))
    sources = [path for package in (*PACKAGES, _HARDWARE) for path in (firmware / package).rglob("*.py")]
    for path in sorted([*sources, *(firmware / name for name in ROOT_FILES)]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(firmware)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]
