"""`andon node config`: read, change and sign a node's configuration, or give it one over the network."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path  # noqa: TC003  Typer reads the annotations when it runs
from typing import Annotated, Any

import click
import typer

from andon_workbench.bundle.keys import read_key
from andon_workbench.checkout import find_checkout
from andon_workbench.node import config as node_config
from andon_workbench.node.cli_parts import TOKEN, AsJson, Cloud, Port, one_line_errors, print_json, setting
from andon_workbench.node.errors import NodeError
from andon_workbench.node.link import BoardLink, choose_port
from andon_workbench.node.network_config import NetworkConfiguration, configure_over_network, require_confirmed

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
        data = _read(path)
        before = None if running is None else node_config.parse(_read(running).decode(errors="replace"))
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


@config_app.command(
    "push",
    epilog="Examples:  andon node config push press-7 config.json --reason 'second thermometer' --cloud http://10.0.0.6:8000  |  "
    "andon node config push press-7 config.json --reason 'new limit' --sig $(andon node config sign config.json --key site.key)",
)
def config_push(
    node: Annotated[str, typer.Argument(help="The node's id.")],
    path: Annotated[Path, typer.Argument(help="The whole document; its revision must be greater than the node's.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the cloud's audit log.")],
    sig: Annotated[
        str | None, typer.Option(help="The site's signature, where the change needs one (andon node config sign).")
    ] = None,
    cloud: Cloud = "http://127.0.0.1:8000",
    expires_s: Annotated[int, typer.Option(min=60, help="Failed when it is not over after so many seconds.")] = 86_400,
    as_json: AsJson = False,
) -> None:
    """Give a node a configuration over the network: to the cloud, the node's gateway and the node, which tries it.

    The node confirms it, refuses it, or goes back to the one before; this command follows until then, and what it ordered goes on
    when it is interrupted. The API's token comes from ANDON_API_TOKEN.
    """
    with one_line_errors():
        signature = None if sig is None else sig.removeprefix("sig=")
        wanted = NetworkConfiguration(node, _read(path), signature, reason, expires_s)
        told: list[str] = []

        def show(order: dict[str, Any]) -> None:
            if told[-1:] != [order["status"]]:
                told.append(order["status"])
                typer.echo(f"{node}: {order['status']}", err=True)

        done = asyncio.run(configure_over_network(cloud, os.environ.get(TOKEN), wanted, show))
        if as_json:
            print_json(done)
        require_confirmed(done)
        if not as_json:
            typer.echo(f"{node}: configuration {done['revision']} confirmed")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NodeError(f"{error.filename}: {error.strerror}") from None
