from __future__ import annotations

import io
import json
import re
import socket
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from andon_workbench.cli import app
from andon_workbench.errors import MissingPartError, PortInUseError, WorkbenchError
from andon_workbench.influxdb import find_influxd
from andon_workbench.plan import FactoryPlan, places
from andon_workbench.ports import require_free_tcp, require_free_udp
from andon_workbench.reconcile import Difference, Reconciliation
from andon_workbench.simulate import parse_address
from andon_workbench.summary import Summary
from andon_workbench.traffic import SentCommand
from andon_workbench.world.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    return result.exit_code, result.output


@pytest.fixture(params=[socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def taken(request: pytest.FixtureRequest) -> Iterator[tuple[socket.SocketKind, int]]:
    with socket.socket(socket.AF_INET, request.param) as holder:
        holder.bind(("127.0.0.1", 0))
        if request.param == socket.SOCK_STREAM:
            holder.listen()
        yield request.param, holder.getsockname()[1]


@pytest.mark.parametrize("command", ["demo", "simulate", "status"])
def test_every_command_explains_itself_with_examples(command: str) -> None:
    code, text = run(command, "--help")
    assert code == 0
    assert f"andon {command}" in text.split("Examples:")[1]


@pytest.mark.parametrize("option", ["--seconds", "--nodes", "--store", "--loss", "--seed", "--json", "--http-port"])
def test_demo_help_names_the_option(option: str) -> None:
    assert option in run("demo", "--help")[1]


@pytest.mark.parametrize(
    "arguments",
    [("--nodes", "0"), ("--loss", "101"), ("--store", "paper"), ("--http-port", "70000"), ("--seconds", "0")],
)
def test_wrong_option_values_are_refused(arguments: tuple[str, str]) -> None:
    code, text = run("demo", *arguments)
    assert code == 2
    assert arguments[0] in text


def test_port_in_use_is_one_line_that_names_the_setting(taken: tuple[socket.SocketKind, int]) -> None:
    kind, port = taken
    http, coap = (port, 0) if kind == socket.SOCK_STREAM else (0, port)
    code, text = run("demo", "--seconds", "1", "--http-port", str(http), "--coap-port", str(coap))
    assert code == 2
    lines = text.strip().splitlines()
    assert len(lines) == 1
    option, variable = ("--http-port", "HTTP_PORT") if http else ("--coap-port", "COAP_PORT")
    assert str(port) in lines[0]
    assert option in lines[0]
    assert variable in lines[0]


def test_free_ports_and_zero_are_accepted(taken: tuple[socket.SocketKind, int]) -> None:
    kind, port = taken
    other_kind = require_free_udp if kind == socket.SOCK_STREAM else require_free_tcp
    other_kind(port, option="--x", variable="X")
    require_free_tcp(0, option="--x", variable="X")
    with pytest.raises(PortInUseError):
        (require_free_tcp if kind == socket.SOCK_STREAM else require_free_udp)(port, option="--x", variable="X")


def test_status_of_an_absent_cloud_is_one_line() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        code, text = run("status", "--cloud", f"http://127.0.0.1:{reserved.getsockname()[1]}")
    assert code == 2
    assert len(text.strip().splitlines()) == 1
    assert "does not answer" in text


def test_missing_influxd_names_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path))
    with pytest.raises(MissingPartError, match="make influxd"):
        find_influxd()


@pytest.mark.parametrize("text", ["host", ":5683", "host:", "host:0", "host:70000", "host:coap", ""])
def test_gateway_address_must_be_host_and_port(text: str) -> None:
    with pytest.raises(WorkbenchError, match="expected HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize(("text", "address"), [("10.0.0.5:5683", ("10.0.0.5", 5683)), ("[::1]:1", ("::1", 1))])
def test_gateway_address(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("count", [1, 6, 7, 200])
def test_places_have_distinct_node_ids_and_all_kinds(count: int) -> None:
    found = places(count)
    assert len({place.name for place in found}) == count
    assert all(NODE_ID.fullmatch(place.name) for place in found)
    assert len({place.kind.name for place in found}) == min(count, len(KINDS))


def test_default_plan_is_the_six_machines_of_the_demo() -> None:
    assert FactoryPlan().nodes == len(FactoryPlan().places) == 6


def summary(*commands: SentCommand, differences: tuple[Difference, ...] = ()) -> Summary:
    return Summary(
        nodes=6,
        seconds=30.04,
        result=Reconciliation(180, 180, 400, 400, differences),
        latencies_ms=[10.0, 20.0, 90.04],
        commands=commands,
        console="http://127.0.0.1:8000",
        store="embedded",
    )


CONFIRMED = SentCommand("press-1", state=True, issued_us=1000, id="c1", status="confirmed", contact_us=24_500)


def test_json_has_exactly_the_keys_of_issue_3() -> None:
    document = json.loads(json.dumps(summary(CONFIRMED).document()))
    assert document == {
        "nodes": 6,
        "seconds": 30.0,
        "taken": 180,
        "stored": 180,
        "missing": 0,
        "duplicates": 0,
        "cycles_true": 400,
        "cycles_stored": 400,
        "latency_ms": {"p50": 20.0, "p99": 90.0},
        "commands": {"issued": 1, "confirmed": 1, "p50_ms": 23.5, "p99_ms": 23.5},
        "console": "http://127.0.0.1:8000",
        "store": "embedded",
    }


def test_good_means_nothing_missing_nothing_double_all_confirmed() -> None:
    lost = Difference("press-1", 0, "temperature", 1, 0)
    double = Difference("press-1", 0, "cycles", 0, 1)
    failed = SentCommand("press-1", state=True, issued_us=1, id="c2", status="failed")
    assert summary().good
    assert summary(CONFIRMED).good
    assert not summary(CONFIRMED, failed).good
    assert not summary(differences=(lost,)).good
    assert not summary(differences=(double,)).good


def test_table_names_every_difference_and_unconfirmed_command() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    failed = SentCommand("mill-1", state=True, issued_us=1, id="c2", status="failed", detail="no answer")
    console.print(summary(failed, differences=(Difference("press-1", 0, "cycles", 3, 0),)).table())
    text = console.export_text()
    assert "press-1 cycles/0" in text
    assert "3 missing, 0 double" in text
    assert "mill-1: failed no answer" in text
