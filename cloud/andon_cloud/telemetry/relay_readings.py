"""Relay readings in a line protocol body: what confirms a relay command."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_cloud.telemetry.lineprotocol import LineParser

if TYPE_CHECKING:
    from andon_cloud.telemetry.store import Precision

_RELAY_LINE = re.compile(rb"^ *relay,.*$", re.MULTILINE)
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class RelayReading:
    """A relay's contact as read back by its node: `on` at `time_ms` (milliseconds since the epoch, UTC)."""

    machine: str
    node: str
    channel: int
    on: bool
    time_ms: int


def relay_readings(body: bytes, precision: Precision, now_ns: int | None = None) -> list[RelayReading]:
    """The relay readings in a body, in its order; lines that are wrong or say something else are passed over.

    Args:
        body: Line protocol, decompressed.
        precision: Unit of its timestamps.
        now_ns: Time of lines without a timestamp; the system's clock when absent.
    """
    if b"relay," not in body:
        return []
    # Only a quoted string can hold a line feed; a body with quotes is parsed whole, so that text is not taken for a line.
    lines = body if b'"' in body else b"\n".join(_RELAY_LINE.findall(body))
    parsed = LineParser().parse(lines, precision, time.time_ns() if now_ns is None else now_ns)
    readings: list[RelayReading] = []
    for _, series, fields, time_ns in parsed.points:
        if series.measurement != "relay":
            continue
        tags = dict(series.tags)
        on = dict(fields).get("on")
        channel = tags.get("channel", "")
        if isinstance(on, bool) and "machine" in tags and "node" in tags and re.fullmatch("[0-9]{1,2}", channel):
            readings.append(RelayReading(tags["machine"], tags["node"], int(channel), on, time_ns // _NS_PER_MS))
    return readings
