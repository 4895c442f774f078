"""`andon node config`: read, change and sign a node's configuration."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003  Typer reads the annotations when it runs
from typing import Annotated

import click
import typer

from andon_workbench.bundle.keys import read_key
from andon_workbench.checkout import find_checkout
from andon_workbench.node import config as node_config
from andon_workbench.node.cli_parts import Port, one_line_errors, setting
from andon_workbench.node.errors import NodeError
from andon_workbench.node.link import BoardLink, choose_port

config_app = typer.Typer(help="Read and change the node's config.json; the node's own rules are asked before writing.")


@config_app.command("get", epilog="Examples:  andon node config get  |  andon node config get wifi.ssid")
def config_get(
    path: Annotated[str | None, typer.Argument(help="Dotted path, such as temperature.0.pin.")] = None,
    *,
    port: Port = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Show the Wi-Fi password too.")] = False,
) -> None:
    """Show the configuration, or one value of it. The node is restarted."""
    with one_line_errors():
        with BoardLink(choose_port(port)) as board:
            document = node_config.read_config(board)
        if not secrets:
            node_config.hide_secrets(document)
        value = node_config.value_at(document, path) if path else document
        typer.echo(value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False))


@config_app.command(
    "set",
    epilog="Examples:  andon node config set sample_ms=2000  |  andon node config set gateway.host=10.0.0.5 coap_port=5683",
)
def config_set(
    settings: Annotated[list[str], typer.Argument(help="PATH=VALUE; the value is JSON or plain text.")],
    *,
    port: Port = None,
) -> None:
    """Change values; the node's own validator is asked first, the old file is kept as config.bak, the node restarted."""
    with one_line_errors():
        firmware = find_checkout().firmware
        with BoardLink(choose_port(port)) as board:
            document = node_config.read_config(board)
            for path, value in map(setting, settings):
                document = node_config.with_value(document, path, value)
            node_config.write_config(board, document, firmware)
        typer.echo(f"{node_config.CONFIG}: written and valid; the one before is {node_config.BACKUP}")


@config_app.command("edit", epilog="Example:  EDITOR=nano andon node config edit")
def config_edit(*, port: Port = None) -> None:
    """Edit the configuration in $EDITOR; what the validator refuses is not written."""
    with one_line_errors():
        firmware = find_checkout().firmware
        port = choose_port(port)
        with BoardLink(port) as board:
            document = node_config.read_config(board)
        text = node_config.render(document).decode()
        edited = click.edit(text, extension=".json")
        if edited is None or edited == text:
            typer.echo("nothing changed")
            return
        changed = node_config.parse(edited)
        with BoardLink(port) as board:
            node_config.write_config(board, changed, firmware)
        typer.echo(f"{node_config.CONFIG}: written and valid; the one before is {node_config.BACKUP}")


@config_app.command(
    "sign",
    epilog="Example:  andon node config sign config.json --key site.key  (then: PUT /config?sig=... with exactly this file)",
)
def config_sign(
    path: Annotated[Path, typer.Argument(help="The whole document, as it will be sent.")],
    *,
    key: Annotated[Path, typer.Option(help="The site's private key, made by andon firmware keygen.")],
    running: Annotated[
        Path | None, typer.Option(help="What the node runs now (GET /config): say whether it needs a signature at all.")
    ] = None,
) -> None:
    """Sign a configuration that touches outputs or interlocks, for PUT /config; prints the query, never the key.

    The document is checked with the firmware's own rules first, and so is whether its revision grows and its node stays.
    """
    with one_line_errors():
        try:
            data = path.read_bytes()
            before = None if running is None else node_config.parse(running.read_text())
        except OSError as error:
            raise NodeError(f"{error.filename}: {error.strerror}") from None
        firmware = find_checkout().firmware
        node_config.check_here(data, firmware)
        if before is not None:
            touched = node_config.touched_outputs(before, data, firmware)
            typer.echo(
                "no signature needed: outputs and interlocks stay"
                if touched is None
                else f"signature needed: {touched}",
                err=True,
            )
        typer.echo(f"sig={node_config.sign(data, read_key(key))}")
