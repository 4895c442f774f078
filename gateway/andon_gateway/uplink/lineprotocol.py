"""InfluxDB line protocol from resolved readings. Pure and deterministic: the same readings give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from andon_gateway.vocabulary import QUANTITIES, Quantity, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CLOCK_OFFSET_NAME: Final = "node/clock_offset_ms"
CLOCK_OFFSET: Final = Quantity("node", "clock_offset_ms", None, None, "integer")
"""Measured by the gateway (node_clock.py); not in the vocabulary, because no node may report it."""

ALARM: Final = "alarm/"
"""Begins the name of an alarm event among a node's readings."""

_TAG_ESCAPES = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
_TEXT_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})


@dataclass(frozen=True, slots=True)
class Asset:
    """Where a node is mounted, in ISA-95's hierarchy."""

    site: str
    area: str
    line: str
    machine: str


def escape_tag(text: str) -> str:
    """Escape a tag value; line breaks and trailing backslashes cannot be expressed and become underscores."""
    safe = "".join("_" if ord(char) < 32 else char for char in text)  # noqa: PLR2004 -- ASCII control characters
    return safe.rstrip("\\").translate(_TAG_ESCAPES) + "_" * (len(safe) - len(safe.rstrip("\\")))


def format_field(value: Value) -> str:
    """One field value: `true`, `12i`, `41.1875` or a quoted text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    return f'"{value.translate(_TEXT_ESCAPES)}"'


def alarm_name(rule: str, name: str) -> str:
    """How an event of a rule about a reading is called in the spool; its value is the dictionary of its fields."""
    return f"{ALARM}{rule}/{name}"


def _alarm(name: str, place: tuple[str, str], fields: Mapping[str, Value]) -> tuple[str, list[str]]:
    """Series and fields of an alarm event."""
    rule, quantity, channel = name.removeprefix(ALARM).split("/")
    area, tail = place
    line, site = tail.rsplit(",site=", 1)
    series = f"alarm,area={area},channel={channel}{line},rule={rule},site={site}"
    return series, [f"{key}={format_field(value)}" for key, value in sorted({**fields, "quantity": quantity}.items())]


def _aggregate(field: str, values: Sequence[float]) -> list[str]:
    count, *rest = values
    return [
        f"{field}_count={count:d}i",
        *(f"{field}_{name}={float(value)!r}" for name, value in zip(("min", "max", "mean", "last"), rest, strict=True)),
    ]


def render(node: str, boot: int, asset: Asset, readings: Iterable[Sequence[object]]) -> list[str]:
    """Lines for the readings of one pack, or for windows of aggregates.

    Args:
        node: Node id.
        boot: The node's start counter; goes into `node` points as `boots`.
        asset: The node's place, for the tags.
        readings: `(name, time_ms, value)`; cycles already carry the monotonic total. A list as value is
            `[count, min, max, mean, last]` of the window that starts at the time; a dictionary, the fields of an alarm event.

    Returns:
        Lines in order of first appearance; readings of the node's health with the same time share a line.
    """
    area, line, machine, site = map(escape_tag, (asset.area, asset.line, asset.machine, asset.site))
    tail = f",line={line},machine={machine},node={escape_tag(node)},site={site} "
    points: dict[tuple[str, object], list[str]] = {}
    for name, time_ms, value in readings:
        if isinstance(value, dict):
            series, parts = _alarm(str(name), (area, tail), value)
            points[series, time_ms] = parts
            continue
        quantity = CLOCK_OFFSET if name == CLOCK_OFFSET_NAME else QUANTITIES[str(name)]
        channel = "" if quantity.channel is None else f",channel={quantity.channel}"
        series = f"{quantity.measurement},area={area}{channel}{tail}"
        fields = points.setdefault((series, time_ms), [])
        if isinstance(value, list):
            fields += _aggregate(quantity.field, value)
            continue
        assert isinstance(value, (bool, int, float, str))  # noqa: S101 -- narrows what JSON gave back for mypy
        fields.append(f"{quantity.field}={format_field(value)}")
    return [
        f"{series}{','.join([*fields, f'boots={boot}i'] if series.startswith('node,') else fields)} {time_ms}"
        for (series, time_ms), fields in points.items()
    ]
