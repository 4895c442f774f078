"""What a lean node takes, and its SenML-CBOR pack (RFC 8428, docs/protocol.md). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SENML_CBOR: Final = 112
CHANNELS: Final = 64
READINGS_PER_PACK: Final = 2
_COLDEST_RAW: Final = -800
_NAME, _UNIT, _VALUE, _TIME = 0, 1, 2, 6
_BASE_NAME, _BASE_TIME = -2, -3


@dataclass(slots=True)
class Pack:
    """One sample of a lean node: one temperature and one count of cycles.

    Attributes:
        boot: The node's boot in which it was taken.
        seq: Its number in that boot.
        taken_ms: When, in milliseconds since the epoch.
        channel: The temperature's channel.
        raw: The temperature in 1/16 degC; no other sample of the node has the same.
        count: Cycles since this boot, as the node reports them.
        total: Cycles over all boots: what the store must say in the end.
        acknowledged: Whether the node has got a 2.04 for it.
    """

    boot: int
    seq: int
    taken_ms: int
    channel: int
    raw: int
    count: int
    total: int
    acknowledged: bool = False


def raw_of_sample(number: int) -> int:
    """A temperature for each sample, all of them different."""
    return _COLDEST_RAW + number


def encode(node: str, pack: Pack, base_ms: int) -> bytes:
    """The pack; `base_ms` is the epoch time, or minus the pack's age from a node without a clock."""
    head: _Record = {_BASE_NAME: f"{node}/", _BASE_TIME: _Milliseconds(base_ms), _NAME: "boot", _VALUE: pack.boot}
    return _array(
        head,
        {_NAME: "seq", _VALUE: pack.seq},
        {_NAME: f"temperature/{pack.channel}", _UNIT: "Cel", _VALUE: pack.raw / 16},
        {_NAME: "cycles/0", _UNIT: "count", _VALUE: pack.count},
    )


@dataclass(frozen=True, slots=True)
class _Milliseconds:
    """A time in seconds as a decimal fraction with three digits (RFC 8949 3.4.4)."""

    value: int


_Record = dict[int, int | float | str | _Milliseconds]


def _array(*maps: _Record) -> bytes:
    return _head(4, len(maps)) + b"".join(_map(item) for item in maps)


def _map(items: _Record) -> bytes:
    return _head(5, len(items)) + b"".join(_integer(label) + _value(value) for label, value in items.items())


def _value(value: float | str | _Milliseconds) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, _Milliseconds):
        return _head(6, 4) + _head(4, 2) + _integer(-3) + _integer(value.value)
    if isinstance(value, int):
        return _integer(value)
    return b"\xfa" + struct.pack(">f", value)  # an ESP32's floats


def _integer(value: int) -> bytes:
    return _head(0, value) if value >= 0 else _head(1, -1 - value)


def _head(major: int, argument: int) -> bytes:
    """Major type and argument (RFC 8949 3)."""
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if argument < 24:  # noqa: PLR2004  RFC 8949 3: up to 23 it is in the head itself
            return bytes([major << 5 | argument])
        if argument < 1 << 8 * size:
            return bytes([major << 5 | code]) + argument.to_bytes(size, "big")
    raise ValueError(argument)
