"""The rung that the tests run on (`--board`), and a whole factory: real processes on loopback, ports chosen by the system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from e2e.board_node import MACHINE, provision, readings_more
from e2e.board_tools import andon
from firmware.update.vm import SITE_KEY_HEX
from parts import require_part

from andon_workbench.checkout import find_checkout
from andon_workbench.errors import MissingPartError
from andon_workbench.factory import Factory
from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan
from andon_workbench.rungs import ladder
from andon_workbench.rungs.bench import RungError
from andon_workbench.rungs.capability import Capability

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from andon_workbench.rungs.bench import Bench

pytestmark = pytest.mark.timeout(600)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--board",
        default=None,
        help="the rung: unix, renode, or serial:PORT such as serial:/dev/ttyUSB0 (docs/boards.md); without it: unix, of its "
        "two boards the STM32, since the ESP32 is in all other tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs_capability(*names): skip on a rung that does not declare them (docs/boards.md)"
    )
    try:
        ladder.boards_of(chosen(config))
    except RungError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rung" in metafunc.fixturenames:
        boards = ladder.boards_of(chosen(metafunc.config)) if asked(metafunc.config) else ["unix-stm32"]
        metafunc.parametrize("rung", boards, scope="session")


def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = {Capability(name) for marker in item.iter_markers("needs_capability") for name in marker.args}
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    rung = str(parameters.get("rung", chosen(item.config)))
    missing = wanted - ladder.declared(rung, os.environ)
    if missing:
        pytest.skip(f"the rung {rung} does not have: {', '.join(sorted(missing))}")


def asked(config: pytest.Config) -> str | None:
    # The option is not there when pytest was started for a folder above: then this file is read too late for it.
    choice: str | None = config.getoption("--board", None)
    return choice


def chosen(config: pytest.Config) -> str:
    return asked(config) or ladder.DEFAULT


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bench(rung: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """The rung's board, powered, in a new folder; all tests of boards share it."""
    try:
        opened = ladder.open_bench(rung, tmp_path_factory.mktemp("bench"), find_checkout())
    except MissingPartError as error:
        require_part(rung.partition(":")[0], found=False, how=str(error))
        raise
    async with opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hall(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Factory]:
    """A factory without boards of its own, its gateway, behind a proxy that can lose datagrams, where the rung's board can reach it."""
    if Capability.NETWORK not in bench.capabilities:
        pytest.skip(f"the rung {bench.name} has no network on this machine (docs/boards.md)")
    plan = FactoryPlan(nodes=0, coap_bind=bench.host, impairment=Impairment(), site_key=SITE_KEY_HEX)
    async with Factory(plan, find_checkout(), tmp_path_factory.mktemp("hall")) as factory:
        yield factory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def node(bench: Bench, hall: Factory, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The board as a measuring node: deployed, provisioned, its first readings in the store."""
    if Capability.NODE not in bench.capabilities:
        pytest.skip(f"the image on the rung {bench.name} leaves no room for the whole firmware (docs/boards.md)")
    folder = tmp_path_factory.mktemp("node")
    await hall.api.register_machine(MACHINE)
    await andon("node", "deploy", "--port", bench.port)
    said = await provision(bench, hall, folder)
    assert "keys.json: on the board" in said
    assert "secret" not in said
    assert (folder / "label.svg").is_file()
    await readings_more(hall, 2)
    return bench


@pytest.fixture
def build(tmp_path: Path) -> Callable[[FactoryPlan], Factory]:
    """Makes a factory that has not started; enter it in the test, so that it is left in the same task."""

    def make(plan: FactoryPlan) -> Factory:
        return Factory(plan, find_checkout(), tmp_path)

    return make


@pytest.fixture
def influxd() -> None:
    """Skips (or fails in CI) where the demo would find no InfluxDB."""
    from influxdb_server import find_influxd  # noqa: PLC0415 -- only tests that ask for it need the module

    require_part("influxdb", found=find_influxd() is not None, how="make influxd")
