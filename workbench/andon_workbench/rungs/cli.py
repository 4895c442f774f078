"""The `andon board renode` commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from andon_workbench.checkout import find_checkout
from andon_workbench.errors import WorkbenchError
from andon_workbench.node.progress import copying
from andon_workbench.rungs.renode.bench import RenodeBench
from andon_workbench.rungs.renode.errors import RenodeError
from andon_workbench.rungs.renode.parts import BOARD, download_image, line_to_pin, pinned_hash

if TYPE_CHECKING:
    from collections.abc import Generator

EXIT_NOT_DONE = 2
_PINS = "renode/images.toml"

app = typer.Typer(help="Boards without boards: the rungs of the ladder (docs/boards.md).", no_args_is_help=True)
renode_app = typer.Typer(help="A whole NUCLEO-F429ZI under Renode.")
app.add_typer(renode_app, name="renode", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(help="Its log and its ptys; the path must have no blanks.")]
_FOLDER = Path("/tmp/andon-renode")  # noqa: S108  made for its owner alone, and refused when somebody else's


@renode_app.command(epilog="Example:  andon board renode up  (then, elsewhere: ANDON_NODE_PORT=... andon node doctor)")
def up(*, folder: Folder = _FOLDER) -> None:
    """Run the board until Ctrl-C or `andon board renode down`; says its console's port and its host's address."""
    with _one_line_errors():
        asyncio.run(_hold(_free(_own(folder))))


@renode_app.command(epilog="Example:  andon board renode down")
def down(*, folder: Folder = _FOLDER) -> None:
    """End the board that `up` runs elsewhere."""
    with _one_line_errors():
        state = folder / "up.json"
        if not state.is_file():
            raise RenodeError(f"no board runs in {folder}")
        pid = _running(folder)
        if pid is None:
            state.unlink()
            raise RenodeError(f"the board in {folder} has ended already")
        os.kill(pid, signal.SIGINT)
        typer.echo(f"asked process {pid} to end")


@renode_app.command("test", epilog="Example:  andon board renode test -- -k console")
def run_tests(words: Annotated[list[str] | None, typer.Argument(help="More words for pytest.")] = None) -> None:
    """Run the end-to-end tests on the board; what it cannot do is skipped with the reason."""
    with _one_line_errors():
        root = find_checkout().root
        command = [sys.executable, "-m", "pytest", "tests/e2e", "--board", "renode", *(words or [])]
        raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)


@renode_app.command(epilog="Example:  andon board renode image NUCLEO_F429ZI-YYYYMMDD-vX.Y.Z.hex --sha256 HASH")
def image(
    name: Annotated[str, typer.Argument(help="The file's name on MicroPython's download page of the board.")],
    *,
    sha256: Annotated[str | None, typer.Option(help="Its hash; needed where none is committed.")] = None,
) -> None:
    """Download MicroPython's official image for the board and check it."""
    with _one_line_errors():
        pins = find_checkout().root / _PINS
        wanted = pinned_hash(name, pins, sha256)
        with copying(Console(stderr=True)) as progress:
            path = download_image(name, wanted, lambda done, total: progress.file(name, done, total))
        typer.echo(f"{path}: SHA-256 {wanted}, as expected")
        if line := line_to_pin(name, wanted, pins):
            typer.echo(f"to pin it for everybody, add to [{BOARD}] in {_PINS}: {line}")


async def _hold(folder: Path) -> None:
    bench = RenodeBench(folder, find_checkout())
    async with bench:
        state = folder / "up.json"
        state.write_text(json.dumps({"pid": os.getpid(), "started": _started(os.getpid())}))
        try:
            if bench.note:
                typer.echo(bench.note, err=True)
            typer.echo(f"ready port={bench.port} host={bench.host} renode={bench.machine.version()!r}")
            sys.stdout.flush()
            while bench.machine.pid is not None:  # noqa: ASYNC110  a process announces its end to nobody
                await asyncio.sleep(0.5)
            raise RenodeError(f"Renode ended; its log: {bench.machine.log}")
        finally:
            state.unlink(missing_ok=True)


def _own(folder: Path) -> Path:
    """The folder, ours alone.

    Raises:
        RenodeError: it belongs to somebody else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RenodeError(f"{folder} belongs to another user: choose another with --folder")
    return folder


def _free(folder: Path) -> Path:
    """The folder, in which no other board runs: two would take each other's console.

    Raises:
        RenodeError: one does.
    """
    pid = _running(folder)
    if pid is not None:
        raise RenodeError(
            f"a board runs in {folder} already (process {pid}): end it with andon board renode down, or choose another --folder"
        )
    return folder


def _running(folder: Path) -> int | None:
    """The process that holds the folder's board, if it is still the one that noted itself there."""
    try:
        noted = json.loads((folder / "up.json").read_text())
        pid = int(noted["pid"])
    except (OSError, ValueError, KeyError):
        return None
    return pid if _started(pid) == noted["started"] else None


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: a pid alone may be another's by now (proc(5), field 22)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


@contextlib.contextmanager
def _one_line_errors() -> Generator[None]:
    """Every failure is one line on stderr; Ctrl-C is the good end of `up`."""
    try:
        yield
    except WorkbenchError as error:
        Console(stderr=True).print(f"andon: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_NOT_DONE) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
