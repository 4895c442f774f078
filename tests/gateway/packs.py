"""Builds packs with cbor2, an encoder that is not ours."""

from __future__ import annotations

from typing import Any

import cbor2


def decimal_ms(milliseconds: int) -> cbor2.CBORTag:
    """Seconds as the nodes write them: a decimal fraction with exponent -3."""
    return cbor2.CBORTag(4, [-3, milliseconds])


def pack(node: str, boot: int, seq: int, *records: dict[int, Any], base_ms: int | None = None) -> bytes:
    """A pack with the given reading records (CBOR labels)."""
    head: dict[int, Any] = {-2: f"{node}/", 0: "boot", 2: boot}
    if base_ms is not None:
        head[-3] = decimal_ms(base_ms)
    return cbor2.dumps([head, {0: "seq", 2: seq}, *records])


def temperature(celsius: float, channel: int = 0, offset_ms: int = 0) -> dict[int, Any]:
    return {0: f"temperature/{channel}", 1: "Cel", 2: celsius, 6: decimal_ms(offset_ms)}


def cycles(count: int, channel: int = 0, offset_ms: int = 0) -> dict[int, Any]:
    return {0: f"cycles/{channel}", 1: "count", 2: count, 6: decimal_ms(offset_ms)}
