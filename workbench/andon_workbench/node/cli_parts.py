"""What all `andon node` commands share: the port's option, settings, errors as one line."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from andon_workbench.errors import WorkbenchError
from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Generator

EXIT_CHECKS_FAILED = 1
EXIT_NOT_DONE = 2
EXIT_INTERRUPTED = 130

Port = Annotated[
    str | None,
    typer.Option(
        envvar="ANDON_NODE_PORT", help="Serial device, pty or socket://HOST:PORT; without it the only board on USB."
    ),
]
Cloud = Annotated[str, typer.Option(envvar="ANDON_CLOUD_URL", help="The cloud's URL.")]
TOKEN = "ANDON_API_TOKEN"  # noqa: S105  the variable's name
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]


@contextlib.contextmanager
def one_line_errors(*, endless: bool = False) -> Generator[None]:
    """Every failure is one line on stderr and an exit status; Ctrl-C is the good end of `endless` work."""
    try:
        yield
    except WorkbenchError as error:
        Console(stderr=True).print(f"andon: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_NOT_DONE) from None
    except KeyboardInterrupt:
        raise typer.Exit(0 if endless else EXIT_INTERRUPTED) from None


def setting(text: str) -> tuple[str, str]:
    """Take `PATH=VALUE` apart.

    Raises:
        NodeError: it is something else.
    """
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise NodeError(f"{text}: expected PATH=VALUE, such as sample_ms=2000")
    return path, value


def print_json(document: object) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
