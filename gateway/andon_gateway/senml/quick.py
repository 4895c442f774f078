"""The usual telemetry pack, decoded in a quarter of the time; every other one is left to the general decoder.

A node writes the same shape again and again: whole base fields in the first record, then plain readings. `QuickDecoder` takes exactly
that shape, and gives up (None) at the first sign of anything else, wrong or only unusual: `senml.decode_pack` alone decides what is
refused and why. A differential test holds the two together.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import cbor2

from andon_gateway.senml.pack import (
    BN,
    BT,
    CBOR_TAGS,
    FUTURE_LIMIT_MS,
    MAX_COUNTER,
    MAX_NESTING,
    MAX_PACK_BYTES,
    MAX_RECORDS,
    RELATIVE_LIMIT_US,
    VB,
    VS,
    N,
    Pack,
    Reading,
    T,
    U,
    V,
    refuse_tag,
)
from andon_gateway.senml.shapes import Parts, Shape, Unusual, head_length
from andon_gateway.vocabulary import INTEGER_LIMIT, NODE_ID, QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_gateway.vocabulary import Quantity

_RELATIVE_LIMIT_MS: Final = RELATIVE_LIMIT_US // 1000
_EXACT: Final = 1 << 52
"""Integers below are the same as floats, and far from every limit of the general decoder."""
_MOST_MS: Final = 1 << 49
"""Below the general decoder's limit of 2**40 s."""
_MOST_KNOWN: Final = 1 << 14
_MOST_SHAPES: Final = 1 << 12
_SHAPES_EACH: Final = 4
_PATIENCE: Final = 16
"""Packs without a known shape, one after the other, after which only every so many is learnt from."""
_NUMBER, _INTEGER, _BOOLEAN, _WORD = range(4)
_KINDS: Final = {"number": _NUMBER, "integer": _INTEGER, "boolean": _BOOLEAN, "fault": _WORD}
_NONE_REJECTED: Final[Counter[str]] = Counter()
"""Shared by all packs of the quick route: nothing in them was rejected, and nobody adds to it later."""


def _entry(quantity: Quantity) -> tuple[str | None, int, int, frozenset[str]]:
    return quantity.unit, _KINDS[quantity.value_type], quantity.minimum, quantity.words


_ENTRIES: Final = {name: _entry(quantity) for name, quantity in QUANTITIES.items()}


def _milliseconds(value: object) -> int:
    """Whole milliseconds of a time: a decimal fraction with exponent -3, or whole seconds."""
    if type(value) is slice:  # what `QuickDecoder` makes of tag 4
        parts: Any = value.start
        if type(parts) is list and len(parts) == 2 and parts[0] == -3:  # noqa: PLR2004 -- exponent and mantissa
            exponent, count = parts
            if type(exponent) is int and type(count) is int and -_MOST_MS < count < _MOST_MS:
                return count
    elif type(value) is int and -_MOST_MS < value * 1000 < _MOST_MS:
        return value * 1000
    raise Unusual


@dataclass(slots=True)
class _Known:
    """What is known of packs that begin alike: of one node, with so many records."""

    node: str
    shapes: list[Shape] = field(default_factory=list)
    strikes: int = 0


class QuickDecoder:
    """Decodes packs of the usual shape. Keeps a CBOR decoder and shapes between packs, so one instance serves one thread."""

    def __init__(self) -> None:
        # `slice` is a callable of two arguments that runs no Python code and yields what no other CBOR item becomes.
        tags: dict[int, Any] = {**CBOR_TAGS, 4: slice}
        self._cbor = cbor2.CBORDecoder(
            io.BytesIO(),
            tag_hook=refuse_tag,
            semantic_decoders=tags,
            max_depth=MAX_NESTING,
            allow_duplicate_keys=False,
        )
        self._known: dict[bytes, _Known] = {}
        self._shapes: dict[tuple[str, bytes], Shape] = {}

    def decode(self, payload: bytes, arrival_ms: int) -> Pack | None:
        """The same as `senml.decode_pack` of a CBOR payload, or None: ask that.

        Args:
            payload: The CoAP payload.
            arrival_ms: Moment of arrival in ms since the epoch.
        """
        at = head_length(payload)
        known = self._known.get(payload[:at])
        if known is not None:
            rest = len(payload) - at
            for shape in known.shapes:
                if shape.size == rest and (pack := shape.decode(payload, at, known.node, arrival_ms)) is not None:
                    known.strikes = 0
                    return pack
        pack = self._general(payload, arrival_ms)
        if pack is not None and at:
            self._learn(payload, at, arrival_ms, pack)
        return pack

    def _general(self, payload: bytes, arrival_ms: int) -> Pack | None:
        if len(payload) > MAX_PACK_BYTES:
            return None
        stream = io.BytesIO(payload)
        self._cbor.fp = stream
        try:
            records: Any = self._cbor.decode()
            if stream.tell() != len(payload) or type(records) is not list or len(records) > MAX_RECORDS:
                return None
            return _resolve(records, arrival_ms)
        except (
            Unusual, cbor2.CBORError, LookupError, ValueError, TypeError, OverflowError, RecursionError, MemoryError,
        ):  # fmt: skip
            return None

    def _learn(self, payload: bytes, at: int, arrival_ms: int, pack: Pack) -> None:
        """Remember the pack's shape, unless this sender's packs never look alike."""
        known = self._known.get(payload[:at])
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[payload[:at]] = _Known(pack.node)
        known.strikes += 1
        if known.strikes > _PATIENCE and known.strikes % _PATIENCE:
            return
        try:
            parts = Parts(payload, at)
            parts.walk()
            form = (parts.layout, parts.constant)
            shape = self._shapes.get(form) or Shape(parts, _NONE_REJECTED)
            if shape.decode(payload, at, pack.node, arrival_ms) != pack:
                return
        except (Unusual, LookupError, ValueError, struct.error):
            return
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[form] = shape
        known.shapes = [shape, *known.shapes[: _SHAPES_EACH - 1]]


def _resolve(records: list[Any], arrival_ms: int) -> Pack:
    first, second = records[0], records[1]
    base = first[BN]
    boot, seq = first[V], second[V]
    base_ms = _milliseconds(first[BT]) if BT in first else 0
    usual = (
        type(first) is dict
        and type(second) is dict
        and len(first) == 3 + (BT in first)
        and len(second) == 2  # noqa: PLR2004 -- n and v
        and first[N] == "boot"
        and second[N] == "seq"
        and type(base) is str
        and base[-1] == "/"
        and type(boot) is int
        and 0 <= boot <= MAX_COUNTER
        and type(seq) is int
        and 0 <= seq <= MAX_COUNTER
    )
    node = base[:-1]
    if not usual or not NODE_ID.fullmatch(node):
        raise Unusual
    return Pack(node, boot, seq, _readings(records, base_ms, arrival_ms), _NONE_REJECTED)


def _readings(records: list[Any], base_ms: int, arrival_ms: int) -> list[Reading]:
    latest_ms = arrival_ms + FUTURE_LIMIT_MS
    readings: list[Reading] = []
    take: Callable[[Reading], None] = readings.append
    new = tuple.__new__  # a NamedTuple's own constructor is a Python function
    for record in records[2:]:
        if type(record) is not dict:
            raise Unusual
        name = record[N]
        unit, kind, minimum, words = _ENTRIES[name]
        fields = 2
        if U in record:
            if record[U] != unit and unit is not None:
                raise Unusual
            fields = 3
            if type(record[U]) is not str:
                raise Unusual
        if T in record:
            fields += 1
            offset = record[T]
            time_ms = base_ms if offset == 0 and type(offset) is int else base_ms + _milliseconds(offset)
        else:
            time_ms = base_ms
        if len(record) != fields:
            raise Unusual
        if time_ms < _RELATIVE_LIMIT_MS:
            time_ms += arrival_ms
        if not _RELATIVE_LIMIT_MS <= time_ms <= latest_ms:
            raise Unusual
        take(new(Reading, (name, time_ms, _value(record, kind, minimum, words))))
    return readings


def _value(record: dict[Any, Any], kind: int, minimum: int, words: frozenset[str]) -> float | int | bool | str:
    if kind == _NUMBER:
        value = record[V]
        if (type(value) is float and isfinite(value)) or (type(value) is int and -_EXACT < value < _EXACT):
            return value + 0.0
    elif kind == _INTEGER:
        value = record[V]
        if type(value) is int and minimum <= value < INTEGER_LIMIT:
            return value
    elif kind == _BOOLEAN:
        value = record[VB]
        if type(value) is bool:
            return value
    else:
        value = record[VS]
        if type(value) is str and value in words:
            return value
    raise Unusual
