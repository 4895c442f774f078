"""The usual telemetry pack, decoded in a quarter of the time; every other one is left to the general decoder.

A node writes the same shape again and again: whole base fields in the first record, then plain readings. `QuickDecoder` takes exactly
that shape, and gives up (None) at the first sign of anything else, wrong or only unusual: `senml.decode_pack` alone decides what is
refused and why. A differential test holds the two together.
"""

from __future__ import annotations

import io
from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import cbor2

from andon_gateway.senml import (
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
from andon_gateway.vocabulary import INTEGER_LIMIT, NODE_ID, QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_gateway.vocabulary import Quantity

_RELATIVE_LIMIT_MS: Final = RELATIVE_LIMIT_US // 1000
_EXACT: Final = 1 << 52
"""Integers below are the same as floats, and far from every limit of the general decoder."""
_MOST_MS: Final = 1 << 49
"""Below the general decoder's limit of 2**40 s."""
_NUMBER, _INTEGER, _BOOLEAN, _WORD = range(4)
_KINDS: Final = {"number": _NUMBER, "integer": _INTEGER, "boolean": _BOOLEAN, "fault": _WORD}
_NONE_REJECTED: Final[Counter[str]] = Counter()
"""Shared by all packs of the quick route: nothing in them was rejected, and nobody adds to it later."""


class _Unusual(Exception):  # noqa: N818 -- internal signal: the general decoder has to look at this pack
    pass


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
    raise _Unusual


class QuickDecoder:
    """Decodes packs of the usual shape. Keeps a CBOR decoder between packs, so one instance serves one thread."""

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

    def decode(self, payload: bytes, arrival_ms: int) -> Pack | None:
        """The same as `senml.decode_pack` of a CBOR payload, or None: ask that.

        Args:
            payload: The CoAP payload.
            arrival_ms: Moment of arrival in ms since the epoch.
        """
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
            _Unusual, cbor2.CBORError, LookupError, ValueError, TypeError, OverflowError, RecursionError, MemoryError,
        ):  # fmt: skip
            return None


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
        raise _Unusual
    return Pack(node, boot, seq, _readings(records, base_ms, arrival_ms), _NONE_REJECTED)


def _readings(records: list[Any], base_ms: int, arrival_ms: int) -> list[Reading]:
    latest_ms = arrival_ms + FUTURE_LIMIT_MS
    readings: list[Reading] = []
    take: Callable[[Reading], None] = readings.append
    new = tuple.__new__  # a NamedTuple's own constructor is a Python function
    for record in records[2:]:
        if type(record) is not dict:
            raise _Unusual
        name = record[N]
        unit, kind, minimum, words = _ENTRIES[name]
        fields = 2
        if U in record:
            if record[U] != unit and unit is not None:
                raise _Unusual
            fields = 3
            if type(record[U]) is not str:
                raise _Unusual
        if T in record:
            fields += 1
            offset = record[T]
            time_ms = base_ms if offset == 0 and type(offset) is int else base_ms + _milliseconds(offset)
        else:
            time_ms = base_ms
        if len(record) != fields:
            raise _Unusual
        if time_ms < _RELATIVE_LIMIT_MS:
            time_ms += arrival_ms
        if not _RELATIVE_LIMIT_MS <= time_ms <= latest_ms:
            raise _Unusual
        take(new(Reading, (name, time_ms, _value(record, kind, minimum, words))))
    return readings


def _value(record: dict[Any, Any], kind: int, minimum: int, words: frozenset[str]) -> float | int | bool | str:
    if kind == _NUMBER:
        value = record[V]
        if (type(value) is float and isfinite(value)) or (type(value) is int and -_EXACT < value < _EXACT):
            return value + 0.0  # type: ignore[no-any-return]  # a float, by the line before
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
    raise _Unusual
