"""Outputs fail safe: on the whole emulated board, with aiocoap as its gateway."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from firmware.emulated_board import board_config, wait_until

if TYPE_CHECKING:
    from firmware.aiocoap_gateway import AiocoapGateway
    from firmware.emulated_board import EmulatedBoard
    from firmware.register_file import RegisterFile

RELAY1 = 25
HOT = {"when": {"channel": "temperature/0", "above": 85.0, "clear_below": 80.0}, "relay": 0, "state": False}


def celsius(degrees: float) -> int:
    return int(degrees * 16)


async def started(board: EmulatedBoard, gateway: AiocoapGateway, **changes: Any) -> None:
    board.put_config(board_config(gateway.port, **changes))
    board.start()
    await wait_until(lambda: gateway.registrations and gateway.packs)


async def command(gateway: AiocoapGateway, *, state: bool, lease_s: int = 60) -> tuple[Any, str]:
    answer = await gateway.ask(aiocoap.PUT, "relay/0", json.dumps({"state": state, "lease_s": lease_s}).encode())
    return answer.code, answer.payload.decode()


async def commanded(gateway: AiocoapGateway, *, state: bool, lease_s: int = 60) -> None:
    code, text = await command(gateway, state=state, lease_s=lease_s)
    assert code == aiocoap.CHANGED, text


def level(registers: RegisterFile) -> int:
    return registers.output(RELAY1)[0]


async def test_interlock_opens_the_relay_and_beats_commands(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=celsius(20))
    await started(board, gateway, interlocks=[HOT])
    await wait_until(lambda: gateway.values("temperature/0"))
    await commanded(gateway, state=True)
    assert level(registers) == 1
    registers.sensor(0, gpio=4, raw=celsius(91))
    await wait_until(lambda: level(registers) == 0, 2.5)
    code, why = await command(gateway, state=True)
    assert code == aiocoap.CONFLICT
    assert "interlock 0 holds: temperature/0 is 91" in why
    await wait_until(lambda: gateway.values("relay/0")[-1] is False, 1)
    status = json.loads((await gateway.ask(aiocoap.GET, "interlock/0")).payload)
    assert (status["holds"], status["latched"], status["state"]) == (True, False, False)
    # Between the thresholds it holds on; below them a command is needed to switch on again.
    registers.sensor(0, gpio=4, raw=celsius(82))
    await wait_until(lambda: 82 in gateway.values("temperature/0"))
    assert (await command(gateway, state=True))[0] == aiocoap.CONFLICT
    registers.sensor(0, gpio=4, raw=celsius(79))
    await wait_until(lambda: 79 in gateway.values("temperature/0"))
    assert level(registers) == 0
    await commanded(gateway, state=True)


async def test_interlock_without_a_reading_trips_unless_told_otherwise(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=celsius(20))
    ignoring = {**HOT, "relay": 1, "when": {**HOT["when"], "fault": "ignore"}}  # type: ignore[dict-item]  # a table of mixed values
    relays = [{"channel": 0, "pin": "RELAY1"}, {"channel": 1, "pin": "RELAY2"}]
    await started(board, gateway, relays=relays, interlocks=[HOT, ignoring])
    await wait_until(lambda: gateway.values("temperature/0"))
    await commanded(gateway, state=True)
    body = json.dumps({"state": True, "lease_s": 60}).encode()
    assert (await gateway.ask(aiocoap.PUT, "relay/1", body)).code == aiocoap.CHANGED
    registers.plug(0, connected=False)
    await wait_until(lambda: level(registers) == 0, 2.5)
    assert "no reading of temperature/0" in (await command(gateway, state=True))[1]
    assert registers.output(26)[0] == 1


async def test_latch_outlives_a_power_cut_and_is_taken_back_by_hand(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=celsius(90))
    await started(board, gateway, interlocks=[{**HOT, "latching": True}])
    await wait_until(lambda: gateway.values("temperature/0"))
    refused = await gateway.ask(aiocoap.PUT, "interlock/0", b'{"reset": true}')
    assert refused.code == aiocoap.CONFLICT
    board.kill()
    registers.sensor(0, gpio=4, raw=celsius(20))
    gateway.packs.clear()
    board.start()
    await wait_until(lambda: 20 in gateway.values("temperature/0"))
    code, why = await command(gateway, state=True)
    assert (code, "latched" in why) == (aiocoap.CONFLICT, True)
    assert (await gateway.ask(aiocoap.PUT, "interlock/0", b'{"reset": 1}')).code == aiocoap.BAD_REQUEST
    assert (await gateway.ask(aiocoap.PUT, "interlock/0", b'{"reset": true}')).code == aiocoap.CHANGED
    await commanded(gateway, state=True)


async def test_minimum_times_refuse_commands_but_never_safety(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    relays = [{"channel": 0, "pin": "RELAY1", "min_on_s": 2, "min_off_s": 2}]
    await started(board, gateway, relays=relays)
    code, why = await command(gateway, state=True)
    assert code == aiocoap.CONFLICT
    assert "stays off for another" in why
    end = time.monotonic() + 4
    while (await command(gateway, state=True, lease_s=1))[0] == aiocoap.CONFLICT:
        assert time.monotonic() < end
    assert level(registers) == 1
    code, why = await command(gateway, state=False)
    assert code == aiocoap.CONFLICT
    assert "min_on_s" in why
    # The lease of one second does not wait for the two.
    await wait_until(lambda: level(registers) == 0, 1.5)


async def test_gateway_silent_longer_than_the_hold_makes_safe(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await started(board, gateway, hold_s=2)
    await commanded(gateway, state=True, lease_s=3600)
    on_since = time.monotonic()
    await wait_until(lambda: time.monotonic() > on_since + 3.5)
    assert level(registers) == 1
    await gateway.stop()
    silent_since = time.monotonic()
    await wait_until(lambda: level(registers) == 0, 3)
    assert time.monotonic() - silent_since > 0.5
    assert "gateway silent, safe state" in board.log()


async def test_lease_goes_on_after_a_reset_where_the_configuration_says_so(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await started(board, gateway, relays=[{"channel": 0, "pin": "RELAY1", "after_reset": "restore"}])
    await commanded(gateway, state=True, lease_s=60)
    await wait_until(lambda: True in gateway.values("relay/0"))
    board.kill()
    changes = registers.output(RELAY1)[2]
    board.start()
    # Safe first, restored when the clock proves the lease.
    await wait_until(lambda: registers.output(RELAY1)[2] >= changes + 2, 5)
    assert level(registers) == 1
    status = json.loads((await gateway.ask(aiocoap.GET, "relay/0")).payload)
    assert 40 < status["lease_s"] < 60


async def test_lease_that_no_clock_proves_or_that_ran_out_is_not_restored(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await started(board, gateway, relays=[{"channel": 0, "pin": "RELAY1", "after_reset": "restore"}])
    await commanded(gateway, state=True, lease_s=2)
    await wait_until(lambda: True in gateway.values("relay/0"))
    board.kill()
    gateway.tells_time = False
    gateway.packs.clear()
    cut = time.monotonic()
    board.start()
    await wait_until(lambda: len(gateway.packs) >= 2)
    assert level(registers) == 0
    await wait_until(lambda: time.monotonic() > cut + 2)
    board.kill()
    gateway.tells_time = True
    gateway.packs.clear()
    board.start()
    await wait_until(lambda: len(gateway.packs) >= 3)
    assert level(registers) == 0


async def test_a_reset_is_safe_by_default(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    await started(board, gateway)
    await commanded(gateway, state=True)
    board.kill()
    gateway.packs.clear()
    board.start()
    await wait_until(lambda: len(gateway.packs) >= 2)
    assert level(registers) == 0


async def test_no_loss_of_gateway_wifi_or_clock_reboots_a_node_that_measures(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=celsius(20))
    gateway.tells_time = False
    await started(board, gateway)
    await gateway.stop()
    reads = registers.reads(0)
    await wait_until(lambda: registers.reads(0) >= reads + 3)
    registers.wifi(reachable=False)
    reads = registers.reads(0)
    await wait_until(lambda: registers.reads(0) >= reads + 3)
    registers.wifi(reachable=True)
    await gateway.start()
    count = len(gateway.packs)
    await wait_until(lambda: len(gateway.packs) > count + 1, 20)
    assert board.exit_status() is None
    assert registers.starts() == 1
    seen = [(pack.boot, pack.seq) for pack in gateway.packs]
    assert sorted(set(seen)) == [(1, seq) for seq in range(len(set(seen)))]
