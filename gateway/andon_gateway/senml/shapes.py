"""Packs that look like an earlier one: the same bytes but for the numbers, which stand at the same places. Pure.

A node writes the same names and units again and again. A `Shape` is such a pack's form: constant bytes in between, and the numbers'
places and widths, so that one call of `struct` reads them all and one comparison checks the rest. A pack whose numbers need other
widths simply has another shape. A shape is only learnt from a pack that another decoder has taken, and only if it gives the same result.
"""

from __future__ import annotations

import struct
from functools import partial
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from andon_gateway.senml.columns import Columns, Form
from andon_gateway.senml.pack import FUTURE_LIMIT_MS, RELATIVE_LIMIT_US, Pack
from andon_gateway.vocabulary import INTEGER_LIMIT, QUANTITIES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Sequence

_RELATIVE_LIMIT_MS: Final = RELATIVE_LIMIT_US // 1000
_DIRECT: Final = 0x17  # largest unsigned integer inside CBOR's initial byte (RFC 8949 3)
_UNSIGNED: Final = {0x18: "B", 0x19: "H", 0x1A: "I", 0x1B: "Q"}
_NEGATIVE: Final = {0x38: "B", 0x39: "H", 0x3A: "I"}
_FLOATS: Final = {0xF9: "e", 0xFA: "f", 0xFB: "d"}
_FALSE, _TRUE = 0xF4, 0xF5
_MILLI: Final = b"\xc4\x82\x22"  # tag 4, array of two, exponent -3
_TEXT, _MAP, _ARRAY, _ARRAY_WITH_COUNT = 0x60, 0xA0, 0x80, 0x98
_TEXT_WITH_LENGTH: Final = 0x78
_NAME, _UNIT, _VALUE, _BOOLEAN, _TIME, _BASE_NAME, _BASE_TIME = 0, 1, 2, 4, 6, 0x21, 0x22
_make_columns: Callable[[Any], Columns] = partial(tuple.__new__, Columns)  # its own constructor is a Python function


class Unusual(Exception):  # noqa: N818 -- a signal between decoders: somebody else has to look at this pack
    """Not for this decoder."""


def head_length(payload: bytes) -> int:
    """Bytes up to the end of the base name, where that comes first; 0: it does not. They name the node and the number of records."""
    try:
        at = 2 if payload[0] == _ARRAY_WITH_COUNT else 1
        if payload[at + 1] != _BASE_NAME:
            return 0
        length = payload[at + 2]
        following = payload[at + 3]
    except IndexError:
        return 0
    if _TEXT <= length < _TEXT_WITH_LENGTH:
        return at + 3 + length - _TEXT
    return at + 4 + following if length == _TEXT_WITH_LENGTH else 0


class Shape:
    """One form of packs, from the end of the base name on.

    Args:
        parts: What stands where.
        rejected: The empty counter that all its packs share.
    """

    __slots__ = (
        "_base", "_booleans", "_boot", "_constant", "_counting", "_direct", "_form", "_forward", "_mask", "_negative", "_offsets", "_pack", "_rejected",
        "_seq", "_small", "_unpack", "_values", "_wide", "size",
    )  # fmt: skip

    def __init__(self, parts: Parts, rejected: Counter[str]) -> None:
        layout = struct.Struct(parts.layout)
        self._unpack = layout.unpack_from
        self.size = layout.size
        # One comparison of big integers is quicker than one for each of the constant parts.
        self._mask = int.from_bytes(parts.mask, "big")
        self._constant = int.from_bytes(parts.constant, "big")
        self._boot, self._seq, self._base = parts.boot, parts.seq, parts.base
        if len(parts.values) < 2:  # noqa: PLR2004 -- of one item, itemgetter makes no tuple
            raise Unusual
        nothing = parts.count  # the zero behind the last number
        self._offsets = _getter(nothing if slot is None else slot for slot in parts.times)
        self._values = _getter(parts.values)
        self._small, self._negative, self._wide = parts.small, parts.negative, parts.wide
        self._direct = not (parts.negative or parts.wide)
        self._booleans = [number for number, slot in enumerate(parts.values) if slot in parts.booleans]
        self._forward = not set(parts.times).intersection(parts.negative)
        self._rejected = rejected
        counted = tuple(number for number, name in enumerate(parts.names) if QUANTITIES[name].cumulative)
        self._form = Form(tuple(parts.names), parts.types(), None if self._booleans else counted)
        self._pack = self._form.layout.pack
        self._counting = self._form.counting

    def decode(self, payload: bytes, at: int, node: str, arrival_ms: int) -> Pack | None:
        """The pack, if it has this shape and all its numbers are in range; `at` is the end of the base name."""
        if int.from_bytes(payload[at:], "big") & self._mask != self._constant:
            return None
        numbers = [*self._unpack(payload, at), 0]
        for slot in self._small:
            if numbers[slot] > _DIRECT:
                return None
        if not self._direct and not self._adapt(numbers):
            return None
        base_ms, offsets, values = numbers[self._base], self._offsets(numbers), self._values(numbers)
        newest = base_ms + max(offsets)
        oldest = base_ms if self._forward and base_ms >= _RELATIVE_LIMIT_MS else base_ms + min(offsets)
        if newest < _RELATIVE_LIMIT_MS:
            base_ms, oldest, newest = base_ms + arrival_ms, oldest + arrival_ms, newest + arrival_ms
        if oldest < _RELATIVE_LIMIT_MS or newest > arrival_ms + FUTURE_LIMIT_MS or not isfinite(sum(values)):
            return None
        if self._booleans or 0.0 in values:
            checked = self._checked(values)
            if checked is None:
                return None
            values = checked
        times = [base_ms + offset for offset in offsets]
        counts = [(name, values[place], times[place]) for name, place in self._counting]
        form = self._form
        columns = _make_columns((form, self._pack(*times, *values), counts, newest))
        return Pack(node, numbers[self._boot], numbers[self._seq], None, self._rejected, form.counted, columns)

    def _adapt(self, numbers: list[Any]) -> bool:
        """Negative numbers from their bytes; False: one is too large."""
        for slot in self._wide:
            if numbers[slot] >= INTEGER_LIMIT:
                return False
        for slot in self._negative:
            numbers[slot] = -1 - numbers[slot]
        return True

    def _checked(self, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Booleans from their bytes, and no negative zero."""
        changed = [value + 0.0 if type(value) is float else value for value in values]
        for number in self._booleans:
            if changed[number] not in (_FALSE, _TRUE):
                return None
            changed[number] = changed[number] == _TRUE
        return tuple(changed)


def _getter(slots: Iterable[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    return itemgetter(*slots)


class Parts:
    """Walks over a pack and notes constants and numbers."""

    def __init__(self, payload: bytes, at: int) -> None:
        self._payload = payload
        self._at = at
        self._constant_from = at
        self.layout = ">"
        self.mask = b""
        """As long as the rest of the pack: ones where it is constant."""
        self.constant = b""
        """The same bytes, zeros in place of the numbers."""
        self.count = 0
        self.boot = self.seq = -1
        self.base: int = -1
        self.names: list[str] = []
        self.times: list[int | None] = []
        self.values: list[int] = []
        self.small: list[int] = []
        self.negative: list[int] = []
        self.wide: list[int] = []
        self.booleans: list[int] = []
        self.integers: list[int] = []
        self.floats: list[int] = []

    def walk(self) -> None:
        """Read all records.

        Raises:
            Unusual: Something that no shape can hold.
            IndexError: The pack ends early.
        """
        payload = self._payload
        counted = payload[0] == _ARRAY_WITH_COUNT
        records = payload[1] if counted else payload[0] - _ARRAY
        self._identity(payload[2 if counted else 1] - _MAP - 1)
        self._identity(self._next() - _MAP)
        for _ in range(records - 2):
            self._record(self._next() - _MAP)
        if self._at != len(payload):
            raise Unusual
        if self.base < 0:
            self.base = self.count  # no base time: the zero behind the last number
        self._constant(self._at)

    def types(self) -> str:
        """Of the values, as `Form` wants them."""
        return "".join(map(self._type, self.values))

    def _type(self, slot: int) -> str:
        if slot in self.booleans:
            return "?"
        return "d" if slot in self.floats or slot in self.integers else "q"

    def _next(self) -> int:
        self._at += 1
        return self._payload[self._at - 1]

    def _constant(self, until: int) -> None:
        part = self._payload[self._constant_from : until]
        self.constant += part
        self.mask += b"\xff" * len(part)
        self.layout += f"{len(part)}x"

    def _slot(self, code: str) -> int:
        self._constant(self._at)
        self.layout += code
        number = bytes(struct.calcsize(f">{code}"))
        self.constant += number
        self.mask += number
        self._at += len(number)
        self._constant_from = self._at
        self.count += 1
        return self.count - 1

    def _text(self) -> str:
        length = self._next() - _TEXT
        if not 0 <= length < _TEXT_WITH_LENGTH - _TEXT:
            raise Unusual
        self._at += length
        return self._payload[self._at - length : self._at].decode()

    def _integer(self) -> int:
        initial = self._next()
        if initial <= _DIRECT:
            self._at -= 1
            self.small.append(self._slot("B"))
            return self.small[-1]
        if initial in _UNSIGNED:
            slot = self._slot(_UNSIGNED[initial])
            if _UNSIGNED[initial] == "Q":
                self.wide.append(slot)
            return slot
        if initial in _NEGATIVE:
            self.negative.append(self._slot(_NEGATIVE[initial]))
            return self.negative[-1]
        raise Unusual

    def _number(self) -> int:
        if self._payload[self._at] not in _FLOATS:
            return self._integer()
        self.floats.append(self._slot(_FLOATS[self._next()]))
        return self.floats[-1]

    def _milliseconds(self) -> int:
        if self._payload[self._at : self._at + len(_MILLI)] != _MILLI:
            raise Unusual
        self._at += len(_MILLI)
        return self._integer()

    def _identity(self, pairs: int) -> None:
        name, value = "", -1
        for _ in range(pairs):
            label = self._next()
            if label == _NAME:
                name = self._text()
            elif label == _VALUE:
                value = self._integer()
            elif label == _BASE_TIME:
                self.base = self._milliseconds()
            else:
                raise Unusual
        if value in self.negative or value in self.wide:
            raise Unusual
        if name == "boot":
            self.boot = value
        elif name == "seq":
            self.seq = value
        else:
            raise Unusual

    def _record(self, pairs: int) -> None:
        name, value, time = "", -1, None
        for _ in range(pairs):
            label = self._next()
            if label == _NAME:
                name = self._text()
            elif label == _UNIT:
                self._text()
            elif label == _TIME:
                time = self._offset()
            else:
                value = self._value(label)
        if value < 0:
            raise Unusual
        self._check(name, value)
        self.names.append(name)
        self.times.append(time)
        self.values.append(value)

    def _offset(self) -> int | None:
        """A record's time; None: zero, which is a constant."""
        if self._payload[self._at] != 0:
            return self._milliseconds()
        self._at += 1
        return None

    def _value(self, label: int) -> int:
        if label == _VALUE:
            return self._number()
        if label != _BOOLEAN:
            raise Unusual
        self.booleans.append(self._slot("B"))
        return self.booleans[-1]

    def _check(self, name: str, value: int) -> None:
        """Whether every number that can stand at the place is one for the name, up to what `Shape.decode` checks."""
        quantity = QUANTITIES[name]
        if value in self.booleans:
            fits = quantity.value_type == "boolean"
        elif value in self.floats:
            fits = quantity.value_type == "number"
        elif quantity.value_type == "number":
            self.integers.append(value)
            fits = True
        else:
            fits = quantity.value_type == "integer" and not (value in self.negative and quantity.minimum >= 0)
        if not fits:
            raise Unusual
