"""The `andon` command: one function per subcommand, errors as one line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from andon_workbench.board import Vm
from andon_workbench.bundle.cli import firmware_app
from andon_workbench.chaos.plan import BOARDS, ChaosOptions
from andon_workbench.chaos.run import run_chaos
from andon_workbench.demo import DemoOptions, run_demo
from andon_workbench.errors import WorkbenchError
from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.node.cli import app as node_app
from andon_workbench.plan import MAX_NODES, FactoryPlan
from andon_workbench.rungs.cli import app as board_app
from andon_workbench.simulate import SimulateOptions, run_simulation
from andon_workbench.soak import fast_clock
from andon_workbench.soak.plan import SAMPLE_S, SPEED, SoakOptions
from andon_workbench.soak.run import enter_fast_clock, run_soak
from andon_workbench.status import gather_status, status_table

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from andon_workbench.soak.summary import SoakSummary

T = TypeVar("T")

EXIT_DIFFERENCE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Andon's workbench: a factory on this machine, simulated machines with emulated boards, a look at a cloud.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


app.add_typer(node_app, name="node")
app.add_typer(board_app, name="board")


class Store(StrEnum):
    """Where the cloud keeps telemetry."""

    EMBEDDED = "embedded"
    INFLUXDB = "influxdb"


app.add_typer(firmware_app, name="firmware")

Nodes = Annotated[int, typer.Option(min=1, max=MAX_NODES, help="Emulated boards, each on a machine of its own.")]
Seed = Annotated[int, typer.Option(help="Seed of machines, faults and losses: the same seed, the same factory.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the folder with data and logs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]


@app.callback()
def _root() -> None:
    """Andon's workbench: a factory on this machine, simulated machines with emulated boards, a look at a cloud."""


@app.command(
    epilog="Examples:  andon demo  |  andon demo --seconds 30  |  andon demo --seconds 30 --loss 20 --seed 7 --json  |  "
    "andon demo --store influxdb --http-port 8100"
)
def demo(  # noqa: PLR0913  one parameter per option is how Typer reads them
    *,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Run this long, drain, compare store and ledger; without it: until Ctrl-C."),
    ] = None,
    nodes: Nodes = 6,
    store: Annotated[Store, typer.Option(help="Telemetry store: the cloud's own, or an InfluxDB 2.")] = Store.EMBEDDED,
    loss: Annotated[
        float, typer.Option(min=0, max=90, help="Per cent of datagrams dropped between nodes and gateway, both ways.")
    ] = 0.0,
    seed: Seed = 1,
    as_json: AsJson = False,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="Cloud and console, TCP; 0: any free one.")] = 8000,
    coap_port: Annotated[int, typer.Option(min=0, max=65535, help="Gateway, UDP; 0: any free one.")] = 5683,
    influxdb_port: Annotated[
        int, typer.Option(min=0, max=65535, help="InfluxDB, when the demo starts one; 0: any free one.")
    ] = 8086,
    vm: Annotated[
        Vm, typer.Option(help="Bits of the words of the boards' MicroPython: 32 are a chip's, with 128 KiB of heap.")
    ] = Vm.BITS_64,
    keep: Keep = False,
) -> None:
    """Run a small factory on loopback: emulated boards with the real firmware, one gateway, one cloud.

    With --seconds the exit status says whether all is well: 0 only if every reading and cycle that happened is in the
    store exactly once and every relay command was confirmed, else 1.
    """
    plan = FactoryPlan(
        nodes=nodes,
        seed=seed,
        store=store.value,
        http_port=http_port,
        coap_port=coap_port,
        influxdb_port=influxdb_port,
        impairment=Impairment(loss=loss / 100) if loss else None,
        vm=vm,
    )
    console = Console(stderr=as_json)
    summary = _run(run_demo(plan, DemoOptions(seconds=seconds, keep=keep), console), endless=seconds is None)
    if summary is None:
        return
    console.print(summary.table())
    if as_json:
        _print_json(summary.document())
    if not summary.good:
        raise typer.Exit(EXIT_DIFFERENCE)


@app.command(
    epilog="Examples:  andon simulate --gateway 127.0.0.1:5683  |  "
    "andon simulate --gateway 10.0.0.5:5683 --cloud http://10.0.0.6:8000 --token TOKEN --gateway-id gw-1 --nodes 12"
)
def simulate(
    *,
    gateway: Annotated[
        str, typer.Option(envvar="ANDON_SIMULATE_GATEWAY", help="The gateway's CoAP address, HOST:PORT.")
    ],
    cloud: Annotated[
        str | None,
        typer.Option(
            envvar="ANDON_SIMULATE_CLOUD", help="The cloud's URL; given, missing machines and nodes are registered."
        ),
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="ANDON_API_TOKEN", help="The cloud's API token.")] = None,
    gateway_id: Annotated[
        str, typer.Option(envvar="ANDON_SIMULATE_GATEWAY_ID", help="The gateway's id in the registry.")
    ] = "gateway-1",
    nodes: Nodes = 6,
    seed: Seed = 1,
    keep: Keep = False,
) -> None:
    """Run emulated boards and their machines against a gateway that exists already, until Ctrl-C."""
    options = SimulateOptions(gateway, cloud, token, gateway_id, nodes, seed, keep)
    _run(run_simulation(options, Console()), endless=True)


@app.command(epilog="Examples:  andon soak --nodes 20 --hours 24 --json  |  andon soak --nodes 4 --hours 0.5 --seed 7")
def soak(
    *,
    nodes: Nodes = 20,
    hours: Annotated[float, typer.Option(min=0.1, max=1000, help="Simulated hours.")] = 24.0,
    seed: Seed = 1,
    speed: Annotated[int, typer.Option(min=1, max=1000, help="Simulated seconds per second.")] = SPEED,
    sample: Annotated[
        int, typer.Option(min=1, max=3600, help="The nodes' sampling period in simulated seconds.")
    ] = SAMPLE_S,
    as_json: AsJson = False,
    keep: Keep = False,
) -> None:
    """Run a factory through simulated hours of power cuts, outages and 20 % packet loss, on an accelerated clock.

    The exit status is 0 only if every reading and cycle is accounted for and no output was on without a lease, else 1.
    """
    options = SoakOptions(nodes, hours, seed, speed, sample)
    console = Console(stderr=as_json)
    summary = _run(_soak(options, console, keep=keep))
    console.print(summary.table())
    if as_json:
        _print_json(summary.document())
    if not summary.good:
        raise typer.Exit(EXIT_DIFFERENCE)


async def _soak(options: SoakOptions, console: Console, *, keep: bool) -> SoakSummary:
    enter_fast_clock(options)
    try:
        return await run_soak(options, console, keep=keep)
    finally:
        fast_clock.remove()


@app.command(
    epilog="Examples:  andon chaos --kills 200 --json  |  andon chaos --kills 20 --nodes 10 --loss 30 --store influxdb"
)
def chaos(  # noqa: PLR0913  one parameter per option is how Typer reads them
    *,
    kills: Annotated[int, typer.Option(min=0, max=100_000, help="How often the gateway is killed with -9.")] = 200,
    nodes: Annotated[
        int, typer.Option(min=1, max=MAX_NODES, help="Nodes that send once a second, boards included.")
    ] = 50,
    boards: Annotated[int, typer.Option(min=0, max=MAX_NODES, help="How many of them are emulated boards.")] = BOARDS,
    loss: Annotated[
        float, typer.Option(min=0, max=90, help="Per cent of datagrams lost, and of those doubled, both ways.")
    ] = 10.0,
    seed: Seed = 1,
    store: Annotated[
        Store, typer.Option(help="The database that is cut off: the cloud's own, or an InfluxDB 2 behind it.")
    ] = Store.EMBEDDED,
    oscore: Annotated[bool, typer.Option(help="Whether the nodes have keys.")] = True,
    workers: Annotated[
        int, typer.Option(min=1, max=16, help="Processes of the gateway that receive telemetry; 1: itself.")
    ] = 1,
    as_json: AsJson = False,
    keep: Keep = False,
) -> None:
    """Kill the gateway with -9 again and again, under loss and with the database away a third of the time.

    The exit status is 0 only if no acknowledged reading is lost, none is counted twice and no total falls, else 1.
    """
    options = ChaosOptions(kills, nodes, boards, loss / 100, seed, store.value, oscore, workers)
    console = Console(stderr=as_json)
    summary = _run(run_chaos(options, console, keep=keep))
    console.print(summary.table())
    if as_json:
        _print_json(summary.document())
    if not summary.good:
        raise typer.Exit(EXIT_DIFFERENCE)


@app.command(epilog="Examples:  andon status  |  andon status --cloud http://10.0.0.6:8000 --token TOKEN --json")
def status(
    *,
    cloud: Annotated[str, typer.Option(envvar="ANDON_CLOUD_URL", help="The cloud's URL.")] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(envvar="ANDON_API_TOKEN", help="The cloud's API token.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a cloud knows: machines, their newest readings, cycles and relays, and the health of their nodes."""
    found = _run(gather_status(cloud, token))
    if as_json:
        _print_json(found)
    else:
        Console().print(status_table(found))


def main() -> None:
    """Entry point of the `andon` command."""
    app()


def _run(work: Coroutine[Any, Any, T], *, endless: bool = False) -> T:
    """Run until done; SIGTERM ends it as cleanly as Ctrl-C does, which is the good end of `endless` work."""

    async def stoppable() -> T:
        task = asyncio.current_task()
        if task is not None and sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(stoppable())
    except WorkbenchError as error:
        Console(stderr=True).print(f"andon: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0 if endless else EXIT_INTERRUPTED) from None


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
