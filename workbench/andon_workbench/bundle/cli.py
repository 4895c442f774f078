"""`andon firmware`: build, sign and show bundles, make the site's key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from andon_workbench.bundle.build import build_app, build_image
from andon_workbench.bundle.format import UNSIGNED, Bundle, BundleError, decode
from andon_workbench.bundle.keys import make_key, public_half, read_key, sign
from andon_workbench.checkout import find_checkout
from andon_workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_USAGE = 2

firmware_app = typer.Typer(
    help="Build and sign what nodes update themselves with.", no_args_is_help=True, rich_markup_mode="rich"
)
_console = Console()

Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")]


@firmware_app.command(epilog="Examples:  andon firmware keygen site.key")
def keygen(path: Annotated[Path, typer.Argument(help="New file for the private key, readable by you alone.")]) -> None:
    """Make the site's signing key and print its public half, which every node of the site gets as site_key.hex."""
    _guarded(lambda: _console.print(make_key(path), highlight=False))


@firmware_app.command(
    epilog="Examples:  andon firmware build  |  andon firmware build --version 1.3.0 -o andon-1.3.0.fw  |  "
    "andon firmware build --image micropython.bin --arch xtensawin --version 1.3.0"
)
def build(
    *,
    version: Annotated[str | None, typer.Option(help="Three numbers; default: the sources' own.")] = None,
    output: Output = None,
    source: Annotated[Path | None, typer.Option(help="Folder with andon_node; default: this checkout's.")] = None,
    image: Annotated[Path | None, typer.Option(help="A whole image instead of the application.")] = None,
    arch: Annotated[str | None, typer.Option(help="Native architecture, such as xtensawin or rv32imc.")] = None,
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="Let nodes go from a newer version to this one.")
    ] = False,
) -> None:
    """Compile the node's application into an unsigned bundle."""

    def work() -> None:
        if image is not None:
            if version is None or arch is None:
                raise BundleError("--image: expected --version and --arch with it")
            bundle = build_image(image, version, arch=arch, downgrade=downgrade)
        else:
            bundle = build_app(source or find_checkout().firmware, version, arch=arch, downgrade=downgrade)
        path = output or Path(f"andon-{bundle.version}.fw")
        data = bundle.encode()
        _write(path, data)
        _console.print(f"{path}: {len(bundle.files)} files, {len(data)} bytes, unsigned", highlight=False)

    _guarded(work)


@firmware_app.command(name="sign", epilog="Examples:  andon firmware sign andon-1.3.0.fw --key site.key")
def sign_command(
    path: Annotated[Path, typer.Argument(help="The bundle; the signature goes into it.")],
    *,
    key: Annotated[Path, typer.Option(help="The site's private key, made by keygen.")],
) -> None:
    """Sign a bundle with the site's key."""

    def work() -> None:
        private = read_key(key)
        _write(path, sign(_read(path), private).encode())
        _console.print(f"{path}: signed; nodes need the public key {public_half(private)}", highlight=False)

    _guarded(work)


@firmware_app.command(epilog="Examples:  andon firmware show andon-1.3.0.fw")
def show(path: Annotated[Path, typer.Argument(help="The bundle.")]) -> None:
    """Check a bundle's sizes and digests and list what is in it."""

    def work() -> None:
        bundle = _read(path)
        state = "unsigned" if bundle.signature == UNSIGNED else "signed"
        table = Table(title=f"{bundle.kind} {bundle.version}, mpy {bundle.mpy}, arch {bundle.arch}, {state}")
        table.add_column("file")
        table.add_column("bytes", justify="right")
        for name, content in bundle.files.items():
            table.add_row(name, str(len(content)))
        _console.print(table)

    _guarded(work)


def _read(path: Path) -> Bundle:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    return decode(data)


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except WorkbenchError as error:
        Console(stderr=True).print(f"andon: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from None
