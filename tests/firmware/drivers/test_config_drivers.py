"""The `sensors` and `link` sections: accepted whole or refused with one line that names the key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from firmware.drivers.sensor_vm import node_config
from firmware.micropython_vm import LineVm, run_vm

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECK = """
import json
from andon_node import config

def answer(line):
    try:
        checked = config.Config(json.loads(line))
    except config.ConfigError as error:
        return str(error)
    return " ".join([checked.link] + [name for sensor in checked.sensors for name in sensor.names])
"""

LOADED = """
import json, sys
from andon_node import config
config.Config(json.loads(sys.argv[1]))
print(sorted(name for name in sys.modules if name.startswith("andon_node.drivers.")))
"""

SHT = {"driver": "sht4x", "channel": 0, "sda": "GPIO21", "scl": "GPIO22"}
TYPE_K = {"driver": "max31855", "channel": 1, "sck": "GPIO18", "miso": "GPIO19", "mosi": "GPIO13", "cs": "GPIO17"}
NTC = {"driver": "ntc", "channel": 2, "pin": "GPIO36"}
LOOP = {"driver": "4-20ma", "channel": 0, "pin": "GPIO39", "low": 0, "high": 10}
DOOR = {"driver": "input", "channel": 0, "pin": "IN1"}
S0 = {"driver": "s0", "channel": 0, "pin": "IN2"}
VOLTAGE: dict[str, Any] = {"quantity": "voltage", "channel": 0, "register": 0}
METER: dict[str, Any] = {"driver": "modbus", "registers": [VOLTAGE]}


@pytest.fixture(scope="module")
def vm() -> Iterator[LineVm]:
    started = LineVm(CHECK, sim=True)
    yield started
    started.close()


def check(vm: LineVm, *sensors: dict[str, Any], **changes: Any) -> str:
    return vm.ask(json.dumps(node_config(*sensors, **changes)))


def test_all_at_once(vm: LineVm) -> None:
    assert check(vm, SHT, TYPE_K, NTC, LOOP, DOOR, S0, METER) == (
        "wifi temperature/0 humidity/0 temperature/1 temperature/2 pressure/0 input/0 energy/0 voltage/0"
    )


def test_serial_needs_neither_wifi_nor_address(vm: LineVm) -> None:
    document = {"version": 1, "node": "press-1", "link": {"kind": "serial", "tx": "GPIO14", "rx": "GPIO35"}}
    assert vm.ask(json.dumps(document)) == "serial"


@pytest.mark.parametrize(
    ("sensors", "changes", "refusal"),
    [
        ([{**SHT, "driver": "bme280"}], {}, "sensors[0].driver: expected one of 4-20ma, input, max31855, modbus, ntc"),
        ([SHT, {**SHT, "address": 69}], {}, "sensors[1].channel: expected a channel that is not used yet; temperature/0 is"),
        ([SHT], {"temperature": [{"channel": 0, "pin": "W1"}]}, "temperature/0 is"),
        ([SHT, {**TYPE_K, "cs": "GPIO21"}], {}, "sensors[1].cs: expected a pin that is not used yet; GPIO21 is"),
        ([SHT, {**SHT, "channel": 4, "scl": "GPIO21"}], {}, "sensors[1].scl: expected a pin that is not used yet"),
        ([{**SHT, "address": 9}], {}, "sensors[0].address: expected a whole number from 68 to 70"),
        ([{**SHT, "sda": "GPIO36"}], {}, "sensors[0].sda: expected a pin that can drive; GPIO36 is input only"),
        ([{**NTC, "pin": "GPIO25"}], {}, "sensors[0].pin: expected a pin with an ADC that works beside Wi-Fi: GPIO32 to GPIO39"),
        ([{**NTC, "steinhart_hart": [1, 2]}], {}, "sensors[0].steinhart_hart: expected a list of 3 numbers or null"),
        ([{**LOOP, "shunt_ohm": 250}], {}, "sensors[0].shunt_ohm: expected a whole number from 10 to 147"),
        ([{**LOOP, "low": "0"}], {}, "sensors[0].low: expected a number"),
        ([{**LOOP, "quantity": "mood"}], {}, "sensors[0].quantity: expected one of"),
        ([{**METER, "registers": []}], {}, "sensors[0].registers: expected at least one register"),
        ([{**METER, "registers": [{**VOLTAGE, "bits": 3}]}], {}, "sensors[0].registers[0].bits: no such key"),
        ([{**METER, "tx": "GPIO14"}], {}, "sensors[0].rx: expected both tx and rx, or neither"),
        ([{**DOOR, "colour": 1}], {}, "sensors[0].colour: no such key"),
        ([{"channel": 1}], {}, "sensors[0].driver: expected one of"),
        ([], {"link": {"kind": "pigeon"}}, "link.kind: expected one of wifi, lan, serial"),
        ([], {"link": {"kind": "serial", "baud": 5}}, "link.baud: expected a whole number from 9600 to 3000000"),
    ],
)  # fmt: skip
def test_refusals(vm: LineVm, sensors: list[dict[str, Any]], changes: dict[str, Any], refusal: str) -> None:
    assert refusal in check(vm, *sensors, **changes)


def test_a_driver_is_loaded_only_where_it_is_used() -> None:
    # An argument of the VM has at most 255 bytes.
    document = json.dumps(
        {"version": 1, "node": "a", "wifi": {"ssid": "h"}, "gateway": {"host": "g"}, "sensors": [DOOR]}
    )
    result = run_vm(LOADED, document, sim=True)
    assert result.stdout.strip() == "['andon_node.drivers.digital_input']", result.stderr
