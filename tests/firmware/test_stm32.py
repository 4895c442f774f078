"""The firmware on an emulated STM32 board: Ethernet, Si7021, button and LEDs, with aiocoap as its gateway."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from firmware.drivers.parts_area import SI7021, place_i2c
from firmware.emulated_board import EmulatedBoard, wait_for, wait_until
from firmware.micropython_vm import FIRMWARE, LineVm, run_vm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from firmware.aiocoap_gateway import AiocoapGateway
    from firmware.register_file import RegisterFile

# 16 per port.
RELAY1_C11, RELAY2_C12, BUTTON_C13, I2C1_SDA_B9 = 43, 44, 45, 25
WORDS = (0x6666, 0x8000)


def nucleo_config(gateway_port: int, **changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "node": "press-1",
        "board": "nucleo-f429zi",
        "link": {"kind": "lan"},
        "gateway": {"host": "127.0.0.1", "port": gateway_port},
        "coap_port": 0,
        "sensors": [{"driver": "si7021", "channel": 0}],
        "cycles": [{"channel": 0, "pin": "IN1", "active": "high", "debounce_ms": 20}],
        "relays": [{"channel": 0, "pin": "RELAY1"}],
        **changes,
    }


@pytest.fixture
def nucleo(tmp_path: Path, registers: RegisterFile) -> Iterator[EmulatedBoard]:
    place_i2c(registers, 0, SI7021, sda=I2C1_SDA_B9, address=0x40, words=WORDS)
    emulated = EmulatedBoard(tmp_path, registers, chip="stm32")
    yield emulated
    emulated.kill()


@pytest.mark.parametrize("lan", [{}, {"address": "10.0.0.7", "mask": "255.255.0.0"}])
async def test_node_measures_over_ethernet(
    nucleo: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile, lan: dict[str, str]
) -> None:
    nucleo.put_config(nucleo_config(gateway.port, lan=lan))
    nucleo.start()
    await wait_until(lambda: gateway.values("temperature/0") and gateway.registrations, 60)
    assert f"lan: address {lan.get('address', '127.0.0.1')}" in nucleo.log()
    assert gateway.values("temperature/0")[0] == pytest.approx(175.72 * WORDS[0] / 65536 - 46.85, abs=0.001)
    assert gateway.values("humidity/0")[0] == pytest.approx(56.5, abs=0.001)
    # No radio, no such record.
    assert gateway.values("node/rssi") == []
    for _ in range(3):
        registers.edge(BUTTON_C13, 1)
        # A pulse counts when the line was quiet before it; edges are dated, so the wait is for the world's clock only.
        registers.edge(BUTTON_C13, 0)
        before = len(gateway.packs)
        await wait_until(lambda: len(gateway.packs) > before, 60)  # noqa: B023 - called in this turn only
    await wait_until(lambda: gateway.values("cycles/0")[-1] == 3, 60)


async def test_pulled_cable_costs_no_reading_and_no_restart(
    nucleo: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    nucleo.put_config(nucleo_config(gateway.port))
    nucleo.start()
    await wait_until(lambda: len(gateway.packs) >= 2, 60)
    registers.wifi(reachable=False)
    await wait_until(lambda: "lan: connection lost" in nucleo.log(), 60)
    registers.wifi(reachable=True)
    seen = len(gateway.packs)
    await wait_until(lambda: len(gateway.packs) >= seen + 3, 60)
    sequence = sorted({(pack.boot, pack.seq) for pack in gateway.packs})
    assert sequence == [(1, number) for number in range(len(sequence))]
    assert nucleo.exit_status() is None


async def test_cable_that_comes_later_is_waited_for_without_standing_still(
    nucleo: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    """Switching an STM32's Ethernet on without a cable would stop everything else for ten seconds."""
    registers.wifi(reachable=False)
    nucleo.put_config(nucleo_config(gateway.port))
    nucleo.start()
    await wait_until(lambda: "node: " in nucleo.log(), 60)
    registers.wifi(reachable=True)
    await wait_until(lambda: len(gateway.packs) >= 2, 60)
    assert gateway.packs[0].seq == 0
    # What the simulated interface says when it is switched on without a cable.
    assert "lan: [Errno" not in nucleo.log()


def test_no_relay_is_on_a_pin_that_micropython_drives() -> None:
    """LD1 to LD3 of the Nucleo-144 (ports/stm32/boards/NUCLEO_F429ZI): during flash writes, at the start, in a fatal error."""
    board = (FIRMWARE / "andon_node/boards/nucleo_f429zi.py").read_text()
    relays = {int(number) for number in re.findall(r'"RELAY\d": (\d+)', board)}
    assert relays == {RELAY1_C11, RELAY2_C12}
    assert relays.isdisjoint({16, 23, 30})


def test_relays_are_safe_without_configuration(nucleo: EmulatedBoard, registers: RegisterFile) -> None:
    nucleo.start()
    wait_for(lambda: "recovery: config.json: not found" in nucleo.log(), 60)
    assert [registers.output(pin)[:2] for pin in (RELAY1_C11, RELAY2_C12)] == [(0, 2)] * 2
    assert nucleo.exit_status() is None


def test_defaults_of_boot_py_are_the_boards_relay_pins(registers: RegisterFile) -> None:
    script = """
import sys, registers
registers.attach(sys.argv[1])
import sim_stm32
sim_stm32.enter()
from andon_node import boards
from andon_base import chip
board = boards.load("nucleo-f429zi")
print([board.PINS[relay] for relay in board.RELAYS], chip.STM32)
scope = {}
with open(sys.argv[2]) as source:
    exec(source.read().split("make_outputs_safe()\\n")[0].rsplit("def ", 1)[0], scope)
print(scope["STM32_RELAYS"], scope["default_outputs"]())
"""
    boot = str(FIRMWARE / "boot.py")
    result = run_vm(script, str(registers.path), boot, sim=True)
    assert result.stdout.splitlines() == [
        "[43, 44] True",
        "(43, 44) [(43, 0), (44, 0)]",
    ], result.stderr


CHIP = """
import sys
import registers
registers.attach(sys.argv[1])
import sim_stm32
sim_stm32.enter()
import json
import re
from andon_base import chip

def answer(line):
    try:
        return json.dumps(repr(eval(line)))
    except Exception as error:
        return json.dumps(repr(error))
"""


def test_what_the_stm32_port_refuses_never_reaches_it(registers: RegisterFile) -> None:
    """Each model refuses what the real port refuses (its documentation), and the firmware's one place goes round it."""
    vm = LineVm(CHIP, str(registers.path), sim=True)
    try:

        def ask(expression: str) -> str:
            return str(json.loads(vm.ask(expression)))

        assert "Pin(16) doesn't exist" in ask("__import__('machine').Pin(16)")
        assert ask("__import__('machine').Pin(chip.pin(16), 1).gpio") == "16"
        assert ask("chip.pin(45).gpio") == "45"
        assert "no GPIO200" in ask("chip.pin(200)")
        assert "too long" in ask("__import__('machine').WDT(timeout=60000)")
        assert "Error" not in ask("chip.watchdog(60000)")
        assert "doesn't exist" in ask("__import__('machine').Timer(0)")
        assert ask("chip.keep_feeding(chip.watchdog(1000), 10)") == "None"
        assert ask("chip.stop_feeding()") == "None"
        assert "TypeError" in ask("__import__('machine').UART(2, 9600, txbuf=10)")
        assert "Error" not in ask("chip.uart(2, 9600, rxbuf=10, txbuf=10)")
        assert "pins of its own" in ask("chip.uart(2, 9600, 1, 2)")
        assert "ImportError" in ask("__import__('esp32')")
        assert ask("hasattr(__import__('network'), 'WLAN')") == "False"
    finally:
        vm.close()


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"lan": {"address": "10.0.0"}}, "lan.address: expected an IPv4 address"),
        ({"lan": {"address": "10.0.0.256"}}, "lan.address: expected an IPv4 address"),
        ({"lan": {"address": "10.0.0.1", "mask": "x"}}, "lan.mask: expected an IPv4 address"),
        ({"lan": {"wires": 2}}, "lan.wires: no such key"),
        ({"gateway": None}, "gateway: expected an object"),
        ({"link": {"kind": "wifi"}}, "wifi: expected an object, but it is missing"),
        ({"sensors": [{"driver": "ntc", "channel": 0, "pin": "GPIO3"}]}, "this board has none"),
        ({"sensors": [{"driver": "si7021", "channel": 0, "sda": "GPIO25"}]}, "both sda and scl, or neither"),
        ({"relays": [{"channel": 0, "pin": "GPIO176"}]}, "expected a pin of nucleo-f429zi"),
    ],
)
def test_refusals(tmp_path: Path, changes: dict[str, Any], refusal: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(nucleo_config(5683, **changes)))
    script = """
import sys
from andon_node import config
try:
    config.load(sys.argv[1])
except config.ConfigError as error:
    print(error)
"""
    assert refusal in run_vm(script, str(path)).stdout
