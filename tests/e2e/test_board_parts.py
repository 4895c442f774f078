"""Parts of the firmware on the board of the rung, driven over its console: the same questions on every rung."""

from __future__ import annotations

import ast
import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap has no types
import pytest
import pytest_asyncio
from aiocoap import resource
from e2e.board_tools import prompt, put_parts
from firmware.aiocoap_gateway import free_udp_port

from andon_gateway.serial.lines import SerialLine
from andon_workbench.node.link import BoardLink
from andon_workbench.rungs.capability import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory
    from andon_workbench.rungs.bench import Bench

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_capability("console"),
]

# 2.05 Content [RFC 7252 5.9.1.5].
CONTENT = 0x45
OPEN_THERMOMETER = """
import time
def open_thermometer():
    if settings.sensors:
        return settings.sensors[0].open({})
    from machine import Pin
    from onewire import OneWire
    from andon_base import chip
    from andon_node.drivers import ds18b20
    item = settings.temperature[0]
    return ds18b20.Thermometer(item.channel, ds18b20.Bus(OneWire(Pin(chip.pin(item.gpio)))), item.rom)
thermometer = open_thermometer()
def measure():
    time.sleep_ms(thermometer.prepare() + 1)
    return tuple(thermometer.read()), thermometer.fault
"""
OPEN_COUNTER = """
from andon_node.drivers.pulse import ContactCounter
item = settings.cycles[0]
counter = ContactCounter(item.channel, item.gpio, item.active_high, item.debounce_ms)
"""
OPEN_RELAY = """
import asyncio
from andon_node.clock import Clock
from andon_node.drivers.relay import Relay
relay = Relay(settings.relays[0], Clock())
"""
ASK = """
import asyncio
from andon_node.coap import message as coap
from andon_node.coap.endpoint import Endpoint
from andon_node.net.link import open_link
link = open_link(settings)
endpoint = Endpoint(link.datagrams, None)
async def tick():
    # A tool gives a board up that says nothing for ten seconds, and a request is repeated for longer than that.
    while True:
        print(".")
        await asyncio.sleep(1)
async def ask(method, path, payload=b""):
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(endpoint.serve()), asyncio.create_task(tick())]
    try:
        await asyncio.wait_for(link.wait_connected(), 60)
        options = [(coap.URI_PATH, part) for part in path]
        answer = await endpoint.request(link.gateway_address(), method, options, payload)
        return answer.code, bytes(answer.payload)
    finally:
        for task in tasks:
            task.cancel()
"""


def config(bench: Bench, gateway: tuple[str, int] = ("127.0.0.1", 5683)) -> bytes:
    host, port = gateway
    document = {"version": 1, "node": "board-1", **bench.template, "gateway": {"host": host, "port": port}}
    return json.dumps(document).encode()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prepared(bench: Bench) -> Bench:
    """The rung's board with the firmware's parts on it."""
    await asyncio.to_thread(put_parts, bench.port, config(bench))
    return bench


async def at_prompt(bench: Bench, work: Callable[[BoardLink], Any]) -> Any:
    def enter() -> Any:
        with prompt(bench.port) as board:
            return work(board)

    return await asyncio.to_thread(enter)


def answer_of(board: BoardLink, request: str) -> Any:
    """Code and payload of an answer; what the link says on the console comes before it."""
    return ast.literal_eval(board.run(f"print(asyncio.run(ask({request})))").splitlines()[-1])


async def test_file_arrives_whole_and_survives_a_reset(prepared: Bench) -> None:
    data = os.urandom(6000)

    def write_and_read_back() -> bytes:
        with BoardLink(prepared.port) as board:
            board.write("some.bin", data)
        with BoardLink(prepared.port, attempts=30) as board:
            found = board.read("some.bin")
            board.run("import os\nos.remove('some.bin')")
            return found

    assert await asyncio.to_thread(write_and_read_back) == data


@pytest.mark.needs_capability("sensor")
async def test_driver_measures_what_the_sensor_has(prepared: Bench) -> None:
    def measure(board: BoardLink) -> Any:
        return board.evaluate("measure()")

    def opened(board: BoardLink) -> Any:
        board.run(OPEN_THERMOMETER)
        return measure(board)

    for celsius in (21.5, -9.75, 84.0):
        await prepared.set_temperature(celsius)
        readings, fault = await at_prompt(prepared, opened)
        assert fault == "ok"
        assert readings[0][:2] == ("temperature/0", "Cel")
        # A DS18B20 has steps of 1/16 degC, an Si7021 of 0.01.
        assert readings[0][2] == pytest.approx(celsius, abs=0.04)


@pytest.mark.needs_capability("cycles")
async def test_driver_counts_every_press(prepared: Bench) -> None:
    ready, pressed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def count(board: BoardLink) -> Any:
        board.run(OPEN_COUNTER)
        before = board.evaluate("counter.total()")
        loop.call_soon_threadsafe(ready.set)
        asyncio.run_coroutine_threadsafe(pressed.wait(), loop).result()
        return board.evaluate("counter.total()") - before

    counting = asyncio.create_task(at_prompt(prepared, count))
    await asyncio.wait({counting, waiting := asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not counting.done():
        await prepared.press(7)
    pressed.set()
    assert await counting == 7


@pytest.mark.needs_capability("outputs")
async def test_driver_switches_the_output_and_makes_it_safe(prepared: Bench) -> None:
    seen: list[bool] = []
    loop = asyncio.get_running_loop()

    def look() -> None:
        seen.append(asyncio.run_coroutine_threadsafe(prepared.relay(), loop).result())

    def write(board: BoardLink) -> None:
        # Some MicroPython shows on a pin of its own that its flash is being written.
        board.run("with open('some.bin', 'wb') as file:\n    file.write(bytes(600))")
        look()
        board.run("import os\nos.sync() if hasattr(os, 'sync') else None\nos.remove('some.bin')")
        look()

    def switch(board: BoardLink) -> Any:
        board.run(OPEN_RELAY)
        look()
        write(board)
        follows = board.evaluate("asyncio.run(relay.switch(True, 60))")
        look()
        write(board)
        board.run("relay.make_safe()")
        look()
        return follows

    assert await at_prompt(prepared, switch) is True
    assert seen == [False] * 3 + [True] * 3 + [False]


@pytest.mark.needs_capability("network")
async def test_link_and_coap_reach_the_gateway(prepared: Bench, hall: Factory) -> None:
    def ask(port: str) -> Any:
        with BoardLink(port, attempts=30) as board:
            board.write("config.json", config(prepared, hall.gateway.address("coap")))
        with prompt(port) as board:
            board.run(ASK)
            return answer_of(board, 'coap.GET, (b".well-known", b"core")')

    code, links = await asyncio.to_thread(ask, prepared.port)
    assert code == CONTENT
    assert b"</t>" in links


class Swap(resource.Resource):  # type: ignore[misc]  # aiocoap has no types
    """Answers with the payload backwards, which no line makes of it by itself."""

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CONTENT, payload=request.payload[::-1])


@pytest.mark.needs_capability("wire")
async def test_slipmux_on_the_data_line_carries_coap_both_ways(prepared: Bench) -> None:
    """The gateway's own end of the line, and aiocoap behind it."""
    if Capability.WIRE not in prepared.capabilities:
        pytest.skip(f"the rung {prepared.name} has no end of the data line on this machine (docs/boards.md)")
    site = resource.Site()
    site.add_resource(["swap"], Swap())
    address = ("127.0.0.1", free_udp_port())
    server = await aiocoap.Context.create_server_context(site, bind=address)
    line = SerialLine(prepared.wire, 115_200, address)
    serving = asyncio.create_task(line.run())
    # Every byte there is, and those that the framing escapes in a row: END, ESC and what they become (RFC 1055).
    payload = bytes(range(256)) + b"\xc0\xdb\xdc\xdd" * 8 + os.urandom(600)

    def ask(port: str) -> Any:
        with prompt(port) as board:
            board.run(f"settings.link, settings.uart, settings.baud = 'serial', {prepared.uart}, 115200\n{ASK}")
            return answer_of(board, f'coap.POST, (b"swap",), {payload!r}')

    try:
        assert await asyncio.to_thread(ask, prepared.port) == (CONTENT, payload[::-1])
        assert line.counts.broken == 0
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await server.shutdown()


@pytest.mark.needs_capability("power_cut")
async def test_files_on_flash_outlive_a_power_cut(prepared: Bench) -> None:
    data = os.urandom(2000)

    def write() -> None:
        with BoardLink(prepared.port, restart=False) as board:
            board.write("kept.bin", data)
            board.run("import os\nos.sync() if hasattr(os, 'sync') else None")

    def read() -> bytes:
        with BoardLink(prepared.port, attempts=30) as board:
            return board.read("kept.bin")

    await asyncio.to_thread(write)
    await prepared.power_cut()
    await prepared.power_on()
    assert await asyncio.to_thread(read) == data


@pytest.mark.needs_capability("reset_cause")
async def test_watchdog_bites_and_its_reset_is_told(prepared: Bench) -> None:
    # A tool's soft reset hides the cause of the reset before it: boot.py notes each.
    note = b"import machine\nwith open('causes', 'a') as file:\n    file.write('%d ' % machine.reset_cause())\n"
    starve = "import time\nfrom andon_base import chip\nchip.watchdog(500)\nwhile True:\n    time.sleep_ms(10)"

    def bite() -> int:
        with BoardLink(prepared.port, restart=False) as board:
            board.write("boot.py", note)
            wanted = int(board.evaluate("__import__('machine').WDT_RESET"))
            board._transport.exec_raw_no_follow(starve)
            board._transport.in_raw_repl = False
            # The prompt of the board that has started anew; a tool that came earlier would interrupt the loop.
            heard = board._listen(60, b">>> ")
        assert heard.endswith(b">>> "), heard
        return wanted

    def causes() -> list[int]:
        with BoardLink(prepared.port, attempts=30) as board:
            found = [int(word) for word in board.read("causes").split()] if board.exists("causes") else []
            board.run("import os\nos.remove('boot.py')")
            return found

    wanted = await asyncio.to_thread(bite)
    assert wanted in await asyncio.to_thread(causes)
