"""The `andon node` commands: one function per command, errors as one line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from enum import StrEnum
from pathlib import Path  # noqa: TC003  Typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from andon_workbench.checkout import find_checkout
from andon_workbench.errors import CloudApiError
from andon_workbench.node import config as node_config
from andon_workbench.node.accept_cli import EXAMPLES as ACCEPT_EXAMPLES
from andon_workbench.node.accept_cli import accept
from andon_workbench.node.bundle import build_bundle
from andon_workbench.node.cli_parts import (
    EXIT_CHECKS_FAILED,
    TOKEN,
    AsJson,
    Cloud,
    Port,
    one_line_errors,
    print_json,
    setting,
)
from andon_workbench.node.config_cli import config_app
from andon_workbench.node.deploy import Deployed, wait_for_node
from andon_workbench.node.deploy import deploy as deploy_bundle
from andon_workbench.node.doctor import examine
from andon_workbench.node.emulate import BenchBoard
from andon_workbench.node.errors import BoardError, NodeError, PortLostError
from andon_workbench.node.flash import OFFSETS, EsptoolFlasher, Flasher, ImageFlasher
from andon_workbench.node.label import require_place
from andon_workbench.node.link import BoardLink, choose_port, console_lines, open_transport, present_ports
from andon_workbench.node.network_update import NetworkUpdate, read_bundle, require_confirmed, update_over_network
from andon_workbench.node.progress import copying, updating
from andon_workbench.node.provision import NodeIdentity, label_of, read_site_key, register, spare_flash, write_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_WIFI_PASSWORD = "ANDON_WIFI_PASSWORD"  # noqa: S105  the variable's name
T = TypeVar("T")
_FOLLOW_S = 10 * 365 * 86_400.0

app = typer.Typer(
    help="From a blank board to a measuring node, over its serial port (docs/nodes.md).", no_args_is_help=True
)
app.add_typer(config_app, name="config", no_args_is_help=True)
app.command(epilog=ACCEPT_EXAMPLES)(accept)


class Chip(StrEnum):
    """The ESP32s that Andon's boards have."""

    ESP32 = "esp32"
    ESP32S2 = "esp32s2"
    ESP32S3 = "esp32s3"
    ESP32C3 = "esp32c3"
    ESP32C6 = "esp32c6"


Compiled = Annotated[
    bool, typer.Option("--mpy/--source", help="Compiled with mpy-cross (smaller, less memory), or as sources.")
]


@app.command(epilog="Example:  andon node ports")
def ports() -> None:
    """List the serial ports that have a device on USB."""
    for port in present_ports():
        typer.echo(port)


@app.command(
    epilog="Examples:  andon node flash --image ESP32_GENERIC.bin  |  andon node flash --port /dev/ttyUSB0 --chip esp32s3 "
    "--image ESP32_GENERIC_S3.bin  |  andon node flash --port /tmp/board --emulated bench/flash.img"
)
def flash(
    *,
    port: Port = None,
    image: Annotated[Path | None, typer.Option(help="MicroPython for this board, a .bin file.")] = None,
    chip: Annotated[Chip, typer.Option(help="The board's chip.")] = Chip.ESP32,
    emulated: Annotated[Path | None, typer.Option(help="An emulated board: its flash image file.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before everything on the board is erased.")] = False,
) -> None:
    """Erase a board and write MicroPython onto it; keys, configuration and readings on it are gone."""
    with one_line_errors():
        port = choose_port(port)
        flasher: Flasher
        if emulated is not None:
            flasher = ImageFlasher(port, emulated)
        elif image is not None:
            flasher = EsptoolFlasher(port, chip.value, image)
        else:
            raise NodeError(f"name the image with --image FILE (chips: {', '.join(OFFSETS)}), or --emulated FILE")
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Erase everything on {port}?", abort=True)
        with copying(Console(stderr=True)) as progress:
            flasher.flash(lambda done, total: progress.file("flash", done, total))
        typer.echo(f"{port}: erased and written; next: andon node deploy, andon node provision")


@app.command(
    epilog="Examples:  andon node deploy  |  andon node deploy --port /dev/ttyUSB0 --source  |  "
    "andon node deploy --port socket://10.0.0.9:2217 --json"
)
def deploy(*, port: Port = None, compiled: Compiled = True, as_json: AsJson = False) -> None:
    """Put this checkout's firmware onto a board: only what changed, checked by hash, then restart it.

    Until everything is on the board and checked, the old firmware stays whole.
    """
    with one_line_errors():
        _report_deployment(_deploy(choose_port(port), compiled=compiled), as_json=as_json)


@app.command(
    epilog="Examples:  andon node update press-7 --bundle andon-1.3.0.fw --cloud http://10.0.0.6:8000  |  "
    "andon node update --port /dev/ttyUSB0"
)
def update(
    node: Annotated[str | None, typer.Argument(help="Over the network: the node's id.")] = None,
    *,
    bundle: Annotated[Path | None, typer.Option(help="Over the network: the signed bundle.")] = None,
    cloud: Cloud = "http://127.0.0.1:8000",
    reason: Annotated[str, typer.Option(help="Why; kept in the cloud's audit log.")] = "andon node update",
    expires_s: Annotated[int, typer.Option(min=60, help="Failed when it is not over after so many seconds.")] = 86_400,
    port: Port = None,
    compiled: Compiled = True,
    as_json: AsJson = False,
) -> None:
    """Update a node over the network with a signed bundle, or a board on the bench over its serial port.

    With a NODE: the bundle goes to the cloud, the node's gateway and the node, which tries it and confirms it or goes back; this
    command follows until then, and what it ordered goes on when it is interrupted. Without: this checkout's firmware through --port.
    """
    with one_line_errors():
        if node is not None:
            if bundle is None:
                raise NodeError("name the bundle with --bundle FILE (andon firmware build, andon firmware sign)")
            wanted = NetworkUpdate(node, read_bundle(bundle), reason, expires_s)
            with updating(Console(stderr=True)) as progress:
                done = _with_token(lambda token: update_over_network(cloud, token, wanted, progress.show))
            if as_json:
                print_json(done)
            require_confirmed(done)
            if not as_json:
                typer.echo(f"{node}: {done['version']} confirmed")
            return
        if bundle is not None:
            raise NodeError("--bundle goes over the network: name the NODE; by serial: without --bundle")
        port = choose_port(port)
        typer.echo(f"update by serial through {port}, not over the network", err=True)
        _report_deployment(_deploy(port, compiled=compiled), as_json=as_json)


@app.command(
    epilog="Examples:  andon node provision --node press-7 --gateway-id gateway-1 --gateway 10.0.0.5 --ssid hall-1 --template press.json  "
    "|  ANDON_API_TOKEN=... ANDON_WIFI_PASSWORD=... andon node provision ... --label press-7.png"
)
def provision(  # noqa: PLR0913  one parameter per option is how Typer reads them
    *,
    node: Annotated[str, typer.Option(help="The node's id, a DNS label such as press-7.")],
    gateway_id: Annotated[str, typer.Option(help="The id of its gateway in the registry.")],
    gateway: Annotated[str, typer.Option(help="The gateway as the node reaches it, HOST or HOST:PORT.")],
    port: Port = None,
    machine: Annotated[str | None, typer.Option(help="The registered machine; without it the node's id.")] = None,
    cloud: Cloud = "http://127.0.0.1:8000",
    ssid: Annotated[
        str | None, typer.Option(help=f"Wi-Fi's name; its password is asked for, or {_WIFI_PASSWORD}.")
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="A config.json to start from: board, sensors, relays, and so on.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="PATH=VALUE over the template, such as sample_ms=2000.")
    ] = None,
    site_key: Annotated[
        Path | None, typer.Option(help="The site's public key for signed updates, 64 hexadecimal digits in a file.")
    ] = None,
    label: Annotated[Path | None, typer.Option(help="Write the label there: .png, .svg or .txt.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a node at the cloud, have keys made for it, and write configuration and keys to its board.

    Everything is read back by hash. Keys are never shown; the API token comes from ANDON_API_TOKEN or is asked for.
    """
    with one_line_errors():
        if label is not None:
            require_place(label)
        port = choose_port(port)
        identity = NodeIdentity(node, machine or node, gateway_id)
        document = _document(template, settings or [], node=node, gateway=gateway, ssid=ssid)
        firmware = find_checkout().firmware
        signer = read_site_key(site_key) if site_key is not None else None
        node_config.check_here(node_config.render(document), firmware)
        # The board first: what it cannot take must not cost a registration and a set of keys.
        with BoardLink(port) as board:
            spare_flash(board, document)
            node_config.stage_config(board, document, firmware)
            keys = _with_token(lambda token: register(cloud, token, identity))
            found = write_identity(board, document, keys, signer)
        printed = label_of(identity, keys)
        if label is not None:
            printed.save(label)
        if as_json:
            print_json(
                {
                    "node": node,
                    "machine": identity.machine,
                    "port": port,
                    "fingerprint": printed.fingerprint,
                    "files": {path: digest.hex() for path, digest in found.items()},
                    "label": str(label) if label is not None else None,
                }
            )
            return
        typer.echo(printed.terminal())
        for path, digest in found.items():
            typer.echo(f"{path}: on the board, SHA-256 {digest.hex()[:16]}… read back")
        if keys is None:
            typer.echo("this cloud makes no keys yet: the node sends unprotected", err=True)


@app.command(epilog="Examples:  andon node logs  |  andon node logs --restart --seconds 30")
def logs(
    *,
    port: Port = None,
    restart: Annotated[bool, typer.Option("--restart", help="Restart the node first, to see it start.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after this; without it: at Ctrl-C.")] = None,
) -> None:
    """Follow what the node prints; it goes on measuring."""
    with one_line_errors(endless=seconds is None):
        port = choose_port(port)
        if restart:
            with BoardLink(port):
                pass
        transport = open_transport(port)
        try:
            for line in console_lines(transport.serial, seconds or _FOLLOW_S):
                typer.echo(line)
        except OSError as error:
            raise PortLostError(f"{port}: the port vanished; plug the board in and run the command again") from error
        finally:
            with contextlib.suppress(OSError):
                transport.close()


@app.command(epilog="Examples:  andon node doctor  |  andon node doctor --port /dev/ttyUSB0 --json")
def doctor(*, port: Port = None, as_json: AsJson = False) -> None:
    """Examine a board from its port to its gateway, with advice; it is stopped for some seconds and restarted.

    The exit status is 0 when nothing is bad, else 1.
    """
    with one_line_errors():
        found = examine(choose_port(port), find_checkout().firmware)
        if as_json:
            print_json(found.document())
        else:
            Console().print(found.table())
        if not found.good:
            raise typer.Exit(EXIT_CHECKS_FAILED)


@app.command(epilog="Example:  andon node emulate bench --link /tmp/board")
def emulate(
    folder: Annotated[Path, typer.Argument(help="Keeps the board's flash image and console log.")],
    *,
    link: Annotated[Path | None, typer.Option(help="A second name for the port.")] = None,
    machine: Annotated[str, typer.Option(help="The machine that the board is wired to.")] = "press",
) -> None:
    """Run an emulated board on a serial port, as if plugged in by USB, until Ctrl-C. New ones are blank."""

    async def run() -> None:
        async with BenchBoard(folder, find_checkout(), kind=machine, link=link) as bench:
            typer.echo(f"ready port={bench.port} flash={bench.flash}")
            sys.stdout.flush()
            await asyncio.Event().wait()

    with one_line_errors(endless=True):
        asyncio.run(run())


def _deploy(port: str, *, compiled: bool) -> Deployed:
    bundle = build_bundle(find_checkout().firmware, compiled=compiled)
    with BoardLink(port) as board, copying(Console(stderr=True)) as progress:
        done = deploy_bundle(
            board,
            bundle,
            announce=lambda plan: progress.total(sum(len(bundle.files[path]) for path in plan.changed)),
            progress=lambda path, count: progress.file(path, count, len(bundle.files[path])),
        )
        return Deployed(done.plan, done.copied_bytes, _boot_line(board))


def _boot_line(board: BoardLink) -> str | None:
    """The node's words at its start; None for one that has no configuration to start with."""
    if not board.exists(node_config.CONFIG):
        return None
    line = wait_for_node(board)
    if not line.startswith("node: "):
        raise BoardError(f"{board.port}: the firmware is on the board, but the node does not start: {line}")
    return line


def _report_deployment(done: Deployed, *, as_json: bool) -> None:
    plan = done.plan
    if as_json:
        print_json(
            {
                "changed": list(plan.changed),
                "same": len(plan.same),
                "removed": list(plan.stale),
                "bytes": done.copied_bytes,
                "boot_line": done.boot_line,
            }
        )
        return
    removed = f", {len(plan.stale)} removed" if plan.stale else ""
    typer.echo(
        f"{len(plan.changed)} files copied ({done.copied_bytes:,} bytes), {len(plan.same)} already there{removed}; "
        "all checked by SHA-256"
    )
    typer.echo(done.boot_line or "no configuration on the board yet; next: andon node provision")


def _document(
    template: Path | None, settings: list[str], *, node: str, gateway: str, ssid: str | None
) -> dict[str, Any]:
    document: dict[str, Any] = {"version": 1}
    if template is not None:
        try:
            document |= node_config.parse(template.read_text())
        except OSError as error:
            raise NodeError(f"--template {template}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise NodeError(f"--template {template}: expected JSON in UTF-8") from None
    document["node"] = node
    host, separator, port = gateway.partition(":")
    if not host or bool(separator) != port.isdecimal():
        raise NodeError(f"--gateway {gateway}: expected HOST or HOST:PORT, such as 10.0.0.5:5683")
    before = document.get("gateway")
    document["gateway"] = (
        (before if isinstance(before, dict) else {}) | {"host": host} | ({"port": int(port)} if port else {})
    )
    if ssid is not None:
        document["wifi"] = {"ssid": ssid, "password": _secret(_WIFI_PASSWORD, f"Password of {ssid}")}
    for path, value in map(setting, settings):
        document = node_config.with_value(document, path, value)
    return document


def _with_token(work: Callable[[str | None], Coroutine[Any, Any, T]]) -> T:
    """Do something at the cloud with the API token, which is asked for only where one is needed."""
    token = os.environ.get(TOKEN)
    try:
        return asyncio.run(work(token))
    except CloudApiError as error:
        if token or ": 401 " not in str(error):
            raise
        return asyncio.run(work(_secret(TOKEN, "API token")))


def _secret(variable: str, question: str) -> str:
    """From the environment, or asked for without echo: a command line would show it to everybody on the machine."""
    value = os.environ.get(variable)
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise NodeError(f"{question} is needed: set {variable}")
    return str(typer.prompt(question, hide_input=True, default="", show_default=False))
