"""The whole node on the emulated board, with aiocoap as its gateway and aiocoap and libcoap as its clients."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import TYPE_CHECKING

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import cbor2
from firmware.emulated_board import board_config, wait_until
from firmware.micropython_vm import FIRMWARE
from parts import require_part

from andon_workbench.bundle.build import source_version

if TYPE_CHECKING:
    from firmware.aiocoap_gateway import AiocoapGateway
    from firmware.emulated_board import EmulatedBoard
    from firmware.register_file import RegisterFile

RELAY1 = 25
IN1 = 32


async def running(board: EmulatedBoard, gateway: AiocoapGateway) -> None:
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: gateway.registrations and gateway.packs)


async def test_every_reading_taken_arrives_once_with_its_time(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=659)
    await running(board, gateway)
    await wait_until(lambda: len(gateway.values("temperature/0")) >= 3)
    board.kill()

    taken = registers.log(0)
    assert all(record.clean and record.converted for record in taken)
    # The last one may have been taken and not sent when the power was cut.
    received = gateway.values("temperature/0")
    assert received == [659 / 16] * len(received)
    assert len(taken) - 1 <= len(received) <= len(taken)
    assert len({(pack.boot, pack.seq) for pack in gateway.packs}) == len(gateway.packs)
    epoch_of_monotonic_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
    times = [
        int((pack.base_time + offset) * 1000)
        for pack in gateway.packs
        for name, offset, _ in pack.readings
        if name == "temperature/0"
    ]
    for sent_ms, record in zip(times, taken, strict=False):
        assert abs(sent_ms - (record.time_us + epoch_of_monotonic_us) / 1000) < 50


async def test_a_name_of_63_characters_is_no_reason_not_to_start(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=320)
    name = "p" * 63
    board.put_config(board_config(gateway.port, node=name))
    board.start()
    await wait_until(lambda: gateway.registrations and gateway.packs)
    assert gateway.packs[0].base_name == f"{name}/"


async def test_pack_is_as_the_protocol_has_it(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=-162)
    await running(board, gateway)
    pack = await wait_until(lambda: next((p for p in gateway.packs if p.values("temperature/0")), None))
    assert pack.base_name == "press-1/"
    assert pack.boot == 1
    assert pack.values("temperature/0") == [-10.125]
    assert pack.values("cycles/0") == [0]
    assert pack.values("relay/0") == [False]
    assert pack.values("node/rssi") == [-61]
    assert pack.values("node/heap_free")[0] > 0
    query, links = gateway.registrations[0]
    assert query == ("ep=press-1", "lt=60", f"ver={source_version(FIRMWARE)}", "cfg=0")
    assert "</relay/0>;ct=50" in links


async def test_contact_pulses_are_counted_without_their_bounce(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=400)
    await running(board, gateway)
    start_us = time.monotonic_ns() // 1000
    for cycle in range(5):
        for bounce, level in enumerate((1, 0, 1, 0, 1)):
            registers.edge(IN1, level, start_us + cycle * 100_000 + bounce * 700)
        for bounce, level in enumerate((0, 1, 0)):
            registers.edge(IN1, level, start_us + cycle * 100_000 + 50_000 + bounce * 700)
    await wait_until(lambda: 5 in gateway.values("cycles/0"))
    assert max(gateway.values("cycles/0")) == 5
    answer = await gateway.ask(aiocoap.GET, "cycles/0")
    assert cbor2.loads(answer.payload)[1] == {0: "cycles/0", 1: "count", 2: 5}


async def test_resources_of_the_node(board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile) -> None:
    registers.sensor(0, gpio=4, raw=320)
    await running(board, gateway)
    await wait_until(lambda: gateway.values("temperature/0"))
    reading = await gateway.ask(aiocoap.GET, "temperature/0")
    assert reading.opt.content_format == 112
    assert cbor2.loads(reading.payload)[1] == {0: "temperature/0", 1: "Cel", 2: 20.0}
    health = json.loads((await gateway.ask(aiocoap.GET, "health")).payload)
    assert {
        "uptime_s", "boot", "heap_free", "queued", "rejected", "dropped", "rssi", "reset_cause", "last_error",
        "revision", "trial", "refused",
    } <= set(health)  # fmt: skip
    assert health["boot"] == 1
    assert health["last_error"] is None
    links = await gateway.ask(aiocoap.GET, ".well-known/core")
    assert links.opt.content_format == 40
    for code, path, expected in (
        (aiocoap.GET, "temperature/1", aiocoap.NOT_FOUND),
        (aiocoap.GET, "temperature/x", aiocoap.NOT_FOUND),
        (aiocoap.GET, "relay/1", aiocoap.NOT_FOUND),
        (aiocoap.GET, "nothing", aiocoap.NOT_FOUND),
        (aiocoap.PUT, "health", aiocoap.METHOD_NOT_ALLOWED),
        (aiocoap.DELETE, "relay/0", aiocoap.METHOD_NOT_ALLOWED),
    ):
        answer = await gateway.ask(code, path)
        assert answer.code == expected, path
        assert answer.payload


async def test_libcoap_reads_the_node(board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile) -> None:
    client = shutil.which("coap-client-notls") or shutil.which("coap-client")
    require_part("libcoap", found=client is not None, how="make deps-test")
    assert client is not None
    registers.sensor(0, gpio=4, raw=320)
    await running(board, gateway)
    uri = f"coap://{gateway.remote.hostinfo}/relay/0"
    process = await asyncio.create_subprocess_exec(client, "-B", "5", uri, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert json.loads(output) == {"state": False, "contact": False, "lease_s": 0}


def command(**changes: object) -> bytes:
    return json.dumps({"id": "c1", "state": True, "lease_s": 60, **changes}).encode()


async def test_relay_follows_a_command_and_says_so_at_once(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await running(board, gateway)
    answer = await gateway.ask(aiocoap.PUT, "relay/0", command(lease_s=1))
    assert answer.code == aiocoap.CHANGED
    assert json.loads(answer.payload) == {"state": True, "contact": True, "lease_s": 1}
    assert registers.output(RELAY1) == (1, 2, 1)
    await wait_until(lambda: True in gateway.values("relay/0"), 0.5)
    # The lease runs out: safe state, reported at once.
    await wait_until(lambda: registers.output(RELAY1) == (0, 2, 2), 1.5)
    await wait_until(lambda: gateway.values("relay/0")[-1] is False, 0.5)


async def test_repeated_command_id_is_answered_but_not_executed(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await running(board, gateway)
    first = await gateway.ask(aiocoap.PUT, "relay/0", command())
    assert (await gateway.ask(aiocoap.PUT, "relay/0", command(id="c2", state=False))).code == aiocoap.CHANGED
    again = await gateway.ask(aiocoap.PUT, "relay/0", command())
    assert (again.code, again.payload) == (first.code, first.payload)
    assert registers.output(RELAY1) == (0, 2, 2)


BAD_COMMANDS = [
    (b"", aiocoap.BAD_REQUEST, "JSON"),
    (b"\xff\xfe", aiocoap.BAD_REQUEST, "JSON"),
    (b"[1]", aiocoap.BAD_REQUEST, "JSON"),
    (b'"\xff"', aiocoap.BAD_REQUEST, "JSON"),
    (command(state=1), aiocoap.BAD_REQUEST, "state"),
    (command(lease_s=0), aiocoap.BAD_REQUEST, "lease_s"),
    (command(lease_s=86401), aiocoap.BAD_REQUEST, "lease_s"),
    (command(lease_s=True), aiocoap.BAD_REQUEST, "lease_s"),
    (command(lease_s=1.5), aiocoap.BAD_REQUEST, "lease_s"),
    (command(id=7), aiocoap.BAD_REQUEST, "id"),
    (command(id=""), aiocoap.BAD_REQUEST, "id"),
    (command(expires_ms="soon"), aiocoap.BAD_REQUEST, "expires_ms"),
    (command(expires_ms=1), aiocoap.PRECONDITION_FAILED, "expired"),
]


async def test_bad_command_changes_nothing(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await running(board, gateway)
    for payload, code, says in BAD_COMMANDS:
        answer = await gateway.ask(aiocoap.PUT, "relay/0", payload)
        assert answer.code == code, payload
        assert says in answer.payload.decode()
    assert registers.output(RELAY1) == (0, 2, 0)


async def test_contact_that_does_not_follow_ends_in_the_safe_state(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    board.put_config(board_config(gateway.port, relays=[{"channel": 0, "pin": "RELAY1", "contact_pin": "IN3"}]))
    board.start()
    await wait_until(lambda: gateway.registrations)
    answer = await gateway.ask(aiocoap.PUT, "relay/0", command())
    assert answer.code == aiocoap.INTERNAL_SERVER_ERROR
    assert b"does not follow" in answer.payload
    assert registers.output(RELAY1) == (0, 2, 2)


async def test_packs_wait_for_the_gateway_and_keep_their_time(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=320)
    gateway.telemetry_code = aiocoap.SERVICE_UNAVAILABLE
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: registers.reads(0) >= 4)
    gateway.telemetry_code = aiocoap.CHANGED
    # While two packs wait, the third one grows.
    await wait_until(lambda: any(len(pack.values("temperature/0")) >= 2 for pack in gateway.packs))
    assert [pack.seq for pack in gateway.packs] == list(range(len(gateway.packs)))
    assert gateway.packs[0].arrival_ms - int(gateway.packs[0].base_time * 1000) > 500


async def test_refused_pack_is_dropped_and_counted(board: EmulatedBoard, gateway: AiocoapGateway) -> None:
    gateway.telemetry_code = aiocoap.BAD_REQUEST
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: gateway.attempts >= 1 and gateway.registrations)
    health = json.loads((await gateway.ask(aiocoap.GET, "health")).payload)
    assert health["rejected"] >= 1
    gateway.telemetry_code = aiocoap.CHANGED
    pack = await wait_until(lambda: gateway.packs and gateway.packs[0])
    assert pack.seq >= 1


async def test_without_a_clock_packs_carry_their_age(board: EmulatedBoard, gateway: AiocoapGateway) -> None:
    gateway.tells_time = False
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: gateway.packs)
    assert all(-5 < pack.base_time <= 0 for pack in gateway.packs)
    refused = await gateway.ask(aiocoap.PUT, "relay/0", command(expires_ms=1))
    assert refused.code == aiocoap.SERVICE_UNAVAILABLE


async def test_wifi_out_of_reach_then_back(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.wifi(reachable=False)
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: "node: press-1 boot 1" in board.log())
    registers.wifi(reachable=True)
    await wait_until(lambda: gateway.packs)
    assert gateway.packs[0].seq == 0
