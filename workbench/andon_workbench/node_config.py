"""What a node is told and how it is wired: an ESP32 DevKitC by its pin map in firmware/andon_node/boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from andon_workbench.world.station import THERMOCOUPLE_CHANNEL, Wiring

if TYPE_CHECKING:
    from andon_workbench.plan import Place

BOARD = "esp32-devkit"
# W1, IN1, RELAY1 and IN2 of that board.
WIRING = Wiring(sensor_bus=4, cycle_input=32, relay_coil=25, relay_contact=33)


_THERMOCOUPLE = {
    "driver": "max31855",
    "channel": THERMOCOUPLE_CHANNEL,
    "sck": "GPIO18",
    "miso": f"GPIO{WIRING.thermocouple_miso}",
    "mosi": "GPIO13",
    "cs": f"GPIO{WIRING.thermocouple_select}",
}
# IN3 of the board; on: the door is open.
_DOOR = {"driver": "input", "channel": 0, "pin": "IN3", "active": "high"}
# The UART of a wired node.
UART = 1


def node_config(place: Place, gateway: tuple[str, int] | None, sample_ms: int) -> dict[str, Any]:
    """The config.json of a node; without a gateway's address, of one that hangs on a serial cable.

    All emulated boards share one host, so each serves CoAP on a free port.
    """
    if gateway is None:
        return {**_measuring(place, sample_ms), "link": {"kind": "serial", "uart": UART}}
    host, port = gateway
    return {
        **_measuring(place, sample_ms),
        "wifi": {"ssid": "andon-demo", "password": ""},
        "gateway": {"host": host, "port": port},
        "coap_port": 0,
    }


def _measuring(place: Place, sample_ms: int) -> dict[str, Any]:
    pulse = place.kind.pulse
    return {
        "version": 1,
        "node": place.name,
        "board": BOARD,
        "sample_ms": sample_ms,
        "temperature": [{"channel": 0, "pin": "W1"}],
        "cycles": [
            {
                "channel": 0,
                "pin": "IN1",
                "mode": "contact" if pulse.bounce_ms else "electronic",
                "active": "high" if pulse.active_level else "low",
                "debounce_ms": place.kind.debounce_ms,
            }
        ],
        "sensors": [_THERMOCOUPLE] * place.kind.thermocouple + [_DOOR] * place.kind.guard_door,
        "relays": [{"channel": 0, "pin": "RELAY1", "active": "low", "safe": True, "contact_pin": "IN2"}],
    }
