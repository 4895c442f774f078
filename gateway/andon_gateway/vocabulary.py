"""The names that a node may report, their units and their value types (docs/protocol.md, "The pack")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

NODE_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
"""A node, machine, gateway, site, area or line id: one DNS label (RFC 1123 section 2.1)."""

CHANNEL_COUNT: Final = 64
FAULTS: Final = frozenset(
    {
        *("ok", "absent", "crc", "power-on", "range", "open", "short", "short-gnd", "short-vcc"),
        *("under-range", "over-range", "timeout", "exception"),
    }
)
CLOCKS: Final = frozenset({"estimated"})
RESET_CAUSES: Final = frozenset({"power-on", "power-loss", "watchdog", "crash", "reset", "panic", "deep-sleep"})
INTEGER_LIMIT: Final = 2**53
"""Counts stay exact in every consumer, JavaScript and Flux included, below this value."""

Value = float | int | bool | str
ValueType = Literal["number", "integer", "boolean", "fault"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One name of the vocabulary.

    Attributes:
        measurement: Measurement in line protocol.
        field: Field key in line protocol.
        channel: Channel number, or None for the node's own health.
        unit: SenML unit (RFC 8428 section 12.1), or None where a unit makes no sense.
        value_type: What the value must be.
        minimum: Smallest allowed integer.
        cumulative: Counts since the node's boot; made monotonic across boots (cycles.py).
        words: What a text may be.
    """

    measurement: str
    field: str
    channel: int | None
    unit: str | None
    value_type: ValueType
    minimum: int = 0
    cumulative: bool = False
    words: frozenset[str] = FAULTS


MEASURED: Final = {
    "temperature": ("celsius", "Cel"),
    "humidity": ("percent", "%RH"),
    "pressure": ("pascal", "Pa"),
    "flow": ("m3_per_s", "m3/s"),
    "level": ("metre", "m"),
    "mass": ("kilogram", "kg"),
    "rotation": ("per_minute", "1/min"),
    "voltage": ("volt", "V"),
    "current": ("ampere", "A"),
    "power": ("watt", "W"),
    "reactive_power": ("var", "var"),
    "apparent_power": ("volt_ampere", "VA"),
    "power_factor": ("ratio", "/"),
    "frequency": ("hertz", "Hz"),
    "meter": ("joule", "J"),
}
"""Continuous quantities: measurement -> (field, SenML unit)."""

COUNTED: Final = {"cycles": ("total", "count"), "energy": ("joule", "J")}
"""Counts since boot: measurement -> (field, SenML unit)."""

SWITCHED: Final = ("relay", "input")
"""Contacts: on or off."""


def _build() -> dict[str, Quantity]:
    table: dict[str, Quantity] = {}
    for channel in range(CHANNEL_COUNT):
        for kind, (key, unit) in MEASURED.items():
            table[f"{kind}/{channel}"] = Quantity(kind, key, channel, unit, "number")
            table[f"{kind}/{channel}/fault"] = Quantity(kind, "fault", channel, None, "fault")
        for kind, (key, unit) in COUNTED.items():
            table[f"{kind}/{channel}"] = Quantity(kind, key, channel, unit, "integer", cumulative=True)
        for kind in SWITCHED:
            table[f"{kind}/{channel}"] = Quantity(kind, "on", channel, None, "boolean")
    table["node/heap_free"] = Quantity("node", "heap_free", None, "B", "integer")
    table["node/rssi"] = Quantity("node", "rssi", None, "dBm", "integer", minimum=-INTEGER_LIMIT)
    table["node/uptime_s"] = Quantity("node", "uptime_s", None, "s", "integer")
    table["node/queued"] = Quantity("node", "queued", None, "count", "integer")
    table["node/rejected"] = Quantity("node", "rejected", None, "count", "integer")
    table["node/dropped"] = Quantity("node", "dropped", None, "count", "integer")
    table["node/heap_largest"] = Quantity("node", "heap_largest", None, "B", "integer")
    table["node/loop_lag"] = Quantity("node", "loop_lag_ms", None, "ms", "integer")
    table["node/loop_lag_max"] = Quantity("node", "loop_lag_max_ms", None, "ms", "integer")
    table["node/crc_errors"] = Quantity("node", "crc_errors", None, "count", "integer")
    table["node/crashes"] = Quantity("node", "crashes", None, "count", "integer")
    table["node/reset_cause"] = Quantity("node", "reset_cause", None, None, "fault", words=RESET_CAUSES)
    table["node/clock"] = Quantity("node", "clock", None, None, "fault", words=CLOCKS)
    return table


QUANTITIES: Final = _build()
"""Every name that a reading may have. A finite table: an attacker cannot grow the store's series."""


def is_node_id(text: object) -> bool:
    """Whether `text` is a DNS label and so a valid node, machine, gateway, site, area or line id."""
    return isinstance(text, str) and NODE_ID.fullmatch(text) is not None
