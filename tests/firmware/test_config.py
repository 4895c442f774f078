"""The configuration: defaults, and an error that names file, key and what was expected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from firmware.emulated_board import board_config
from firmware.micropython_vm import LineVm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Loads the file named on the line; answers the error, or the values that this test looks at.
LOADER = """
from andon_node import config

def answer(line):
    try:
        c = config.load(line)
    except config.ConfigError as error:
        return str(error)
    return repr((
        c.node, c.board, c.gateway_port, c.coap_port, c.sample_ms, c.lease_max_s,
        [(t.channel, t.gpio, t.rom) for t in c.temperature],
        [(p.channel, p.gpio, p.electronic, p.active_high, p.debounce_ms) for p in c.cycles],
        [(r.channel, r.gpio, r.active_high, r.safe, r.contact_gpio, r.contact_active_high) for r in c.relays],
    ))
"""


@pytest.fixture(scope="module")
def loader() -> Iterator[LineVm]:
    vm = LineVm(LOADER)
    yield vm
    vm.close()


MINIMAL: dict[str, Any] = {
    "version": 1,
    "node": "press-1",
    "wifi": {"ssid": "hall"},
    "gateway": {"host": "gateway.local"},
}


def load(loader: LineVm, folder: Path, document: Any) -> str:
    path = folder / "config.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    answer = loader.ask(str(path))
    return answer.removeprefix(str(path) + ": ")


def test_defaults(loader: LineVm, tmp_path: Path) -> None:
    expected: tuple[Any, ...] = ("press-1", "esp32-devkit", 5683, 5683, 1000, 86400, [], [], [])
    assert load(loader, tmp_path, MINIMAL) == repr(expected)


def test_every_key(loader: LineVm, tmp_path: Path) -> None:
    document = board_config(
        5700,
        board="esp32-s3",
        sample_ms=2000,
        lease_max_s=60,
        temperature=[
            {"channel": 3, "pin": "W1", "rom": "28ff010203040506"},
            {"channel": 4, "pin": "W1", "rom": "28ff010203040507"},
        ],
        cycles=[{"channel": 1, "pin": "IN2", "mode": "electronic", "active": "high", "debounce_ms": 5}],
        relays=[
            {
                "channel": 0,
                "pin": "GPIO8",
                "active": "low",
                "safe": True,
                "contact_pin": "IN3",
                "contact_active": "low",
            }
        ],
    )
    expected = (
        "press-1", "esp32-s3", 5700, 0, 2000, 60,
        [(3, 6, b"(\xff\x01\x02\x03\x04\x05\x06"), (4, 6, b"(\xff\x01\x02\x03\x04\x05\x07")],
        [(1, 16, True, True, 5)],
        [(0, 8, False, True, 17, False)],
    )  # fmt: skip
    assert load(loader, tmp_path, document) == repr(expected)


TWO_ON_ONE_PIN = {"cycles": [{"channel": 0, "pin": "IN1"}, {"channel": 1, "pin": "GPIO32"}]}
TWO_OF_ONE_CHANNEL = {"cycles": [{"channel": 0, "pin": "IN1"}, {"channel": 0, "pin": "IN2"}]}
SHARED_BUS = {"temperature": [{"channel": 0, "pin": "W1"}, {"channel": 1, "pin": "W1"}]}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 2}, "version: expected 1"),
        ({"version": "1"}, "version: expected a whole number"),
        ({"node": "Press_1"}, "node: expected a DNS label"),
        ({"node": "-press"}, "node: expected a DNS label"),
        ({"node": ""}, "node: expected text of 1 to 63"),
        ({"node": "x" * 64}, "node: expected text of 1 to 63"),
        ({"board": "esp8266"}, "board: expected one of esp32-devkit, esp32-s3, esp32-c3"),
        ({"wifi": None}, "wifi: expected an object"),
        ({"wifi": {}}, "wifi.ssid: expected text of 1 to 32 characters, but it is missing"),
        ({"wifi": {"ssid": "a", "psk": "b"}}, "wifi.psk: no such key"),
        ({"gateway": {"host": "h", "port": 0}}, "gateway.port: expected a whole number from 1 to 65535"),
        ({"coap_port": 65536}, "coap_port: expected a whole number"),
        ({"sample_ms": True}, "sample_ms: expected a whole number"),
        ({"sample_ms": 99}, "sample_ms: expected a whole number from 100"),
        ({"sample_ms": 500, "temperature": [{"channel": 0, "pin": "W1"}]}, "sample_ms: expected at least 800"),
        ({"temperatures": []}, "temperatures: no such key"),
        ({"temperature": {}}, "temperature: expected a list"),
        ({"temperature": [1]}, "temperature[0]: expected an object"),
        ({"temperature": [{"pin": "W1"}]}, "temperature[0].channel: expected a whole number from 0 to 63, but"),
        ({"temperature": [{"channel": 64, "pin": "W1"}]}, "temperature[0].channel: expected a whole number"),
        ({"temperature": [{"channel": 0, "pin": "W9"}]}, "temperature[0].pin: expected a pin of esp32-devkit: "),
        ({"temperature": [{"channel": 0, "pin": "GPIO40"}]}, "temperature[0].pin: expected a pin"),
        ({"temperature": [{"channel": 0, "pin": "IN3"}]}, "temperature[0].pin: expected a pin that can drive"),
        ({"temperature": [{"channel": 0, "pin": "W1", "rom": "28"}]}, "temperature[0].rom: expected 16 hexa"),
        ({"temperature": [{"channel": 0, "pin": "W1", "rom": 5}]}, "temperature[0].rom: expected text or null"),
        (SHARED_BUS, "temperature[0].rom: expected a ROM code, since thermometers share GPIO4"),
        ({"cycles": [{"channel": 0, "pin": "IN1", "mode": "reed"}]}, "cycles[0].mode: expected one of electronic"),
        ({"cycles": [{"channel": 0, "pin": "IN1", "debounce_ms": -1}]}, "cycles[0].debounce_ms: expected"),
        (TWO_ON_ONE_PIN, "cycles[1].pin: expected a pin that is not used yet; GPIO32 is"),
        (TWO_OF_ONE_CHANNEL, "cycles[1].channel: expected a channel that is not used yet"),
        ({"relays": [{"channel": 0, "pin": "IN4"}]}, "relays[0].pin: expected a pin that can drive; GPIO35"),
        ({"relays": [{"channel": 0, "pin": "RELAY1", "safe": 0}]}, "relays[0].safe: expected true or false"),
        ({"relays": [{"channel": 0, "pin": "RELAY1", "contact_pin": "RELAY1"}]}, "relays[0].contact_pin: expected a"),
        ({"lease_max_s": 86401}, "lease_max_s: expected a whole number from 1 to 86400"),
    ],
)
def test_errors_name_the_key_and_what_was_expected(
    loader: LineVm, tmp_path: Path, changes: dict[str, Any], error: str
) -> None:
    assert load(loader, tmp_path, {**MINIMAL, **changes}).startswith(error)


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"version": 1'])
def test_no_json(loader: LineVm, tmp_path: Path, text: str) -> None:
    assert load(loader, tmp_path, text) == "expected JSON"


def test_no_file(loader: LineVm) -> None:
    assert loader.ask("/nowhere/config.json").startswith("/nowhere/config.json: not found")
