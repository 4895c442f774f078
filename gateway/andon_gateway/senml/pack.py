"""Telemetry packs: SenML (RFC 8428) in CBOR or JSON, decoded under strict limits. Pure: no I/O and no clock."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import cbor2

from andon_gateway.errors import PackRefused
from andon_gateway.vocabulary import INTEGER_LIMIT, NODE_ID, QUANTITIES, Quantity, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_gateway.senml.columns import Columns

SENML_JSON: Final = 110
"""CoAP content-format of application/senml+json (RFC 8428 section 12.3.1)."""
SENML_CBOR: Final = 112
"""CoAP content-format of application/senml+cbor."""

MAX_PACK_BYTES: Final = 1024
MAX_RECORDS: Final = 64
MAX_NESTING: Final = 6  # array, map, decimal fraction, its array, a bignum in it: enough to drop that record alone
MAX_COUNTER: Final = 2**32 - 1  # boot and seq
RELATIVE_LIMIT_US: Final = 2**28 * 1_000_000  # RFC 8428 4.5.3: below 2**28 s a time is relative to now
FUTURE_LIMIT_MS: Final = 24 * 3600 * 1000
SENML_VERSION: Final = 10  # RFC 8428 4.4
NUMBER_LIMIT: Final = 2**64
SECONDS_LIMIT: Final = 2**40

# RFC 8428 table 4: CBOR labels; JSON names are translated to them so that one resolver serves both.
BVER, BN, BT, BU, BV = -1, -2, -3, -4, -5
N, U, V, VS, VB, T, VD = 0, 1, 2, 3, 4, 6, 8
_LABELS: Final = {
    "bver": BVER, "bn": BN, "bt": BT, "bu": BU, "bv": BV, "bs": -6,
    "n": N, "u": U, "v": V, "vs": VS, "vb": VB, "s": 5, "t": T, "ut": 7, "vd": VD,
}  # fmt: skip
_VALUE_LABELS: Final = (V, VS, VB, VD)


class Reading(NamedTuple):
    """One resolved record: a name of the vocabulary, milliseconds since the epoch (UTC), and the value."""

    name: str
    time_ms: int
    value: Value


_make_reading: Callable[[Any], Reading] = partial(tuple.__new__, Reading)


class Pack:
    """One decoded pack; (node, boot, seq) identifies it forever.

    Attributes:
        node: Node id.
        boot: Start counter of the node.
        seq: Pack counter within the boot.
        rejected: Number of dropped records by reason (`name`, `type`, `value`, `unit`, `time`, `record`).
        counted: Known are: all values are numbers, and those at these places count since the node's boot.
        columns: The readings, until somebody asks for them one by one.
    """

    __slots__ = ("_future_ms", "_readings", "boot", "columns", "counted", "node", "rejected", "seq")
    _future_ms: int

    def __init__(
        self,
        node: str,
        boot: int,
        seq: int,
        readings: list[Reading] | None = None,
        rejected: Counter[str] | None = None,
        counted: tuple[int, ...] | None = None,
        columns: Columns | None = None,
    ) -> None:
        self.node = node
        self.boot = boot
        self.seq = seq
        self._readings = readings
        self.rejected: Counter[str] = Counter() if rejected is None else rejected
        self.counted = counted
        self.columns = columns

    @property
    def readings(self) -> list[Reading]:
        """Records that could be read, in their order; the list may be added to."""
        if self._readings is None:
            columns, self.columns = self.columns, None
            if columns is None:
                self._readings = []
            else:
                names = columns.form.names
                fields = columns.form.layout.unpack(columns.numbers)
                rows = zip(names, fields[: len(names)], fields[len(names) :], strict=True)
                self._readings = list(map(_make_reading, rows))
        return self._readings

    @property
    def future_ms(self) -> int | None:
        """Newest time of the records that were dropped for lying too far ahead, ms since the epoch; None: there are none."""
        return getattr(self, "_future_ms", None)  # only set where there are: the usual pack is spared that

    @future_ms.setter
    def future_ms(self, time_ms: int) -> None:
        self._future_ms = time_ms

    def __eq__(self, other: object) -> bool:
        """Same identity, readings and number of rejected records."""
        if not isinstance(other, Pack):
            return NotImplemented
        return (self.node, self.boot, self.seq, self.readings, self.rejected) == (
            other.node, other.boot, other.seq, other.readings, other.rejected,
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]  # readings may be added

    def __repr__(self) -> str:
        """For messages of tests."""
        return f"Pack({self.node!r}, {self.boot}, {self.seq}, {self.readings!r}, {self.rejected!r})"


class _RecordRejected(Exception):  # noqa: N818 -- internal signal: one record is dropped, its neighbours stay
    pass


class _TooFarAhead(_RecordRejected):
    def __init__(self, time_ms: int) -> None:
        super().__init__("time")
        self.time_ms = time_ms


class _Unsupported:
    """Stands where a CBOR tag other than a decimal fraction was: the record that holds it is dropped alone."""


_UNSUPPORTED: Final = _Unsupported()


def refuse_tag(_value: object, _immutable: object) -> _Unsupported:
    """What cbor2 is to make of every tag but the decimal fraction."""
    return _UNSUPPORTED


def _decimal_fraction(value: object, _immutable: object) -> Decimal | _Unsupported:
    """RFC 8949 3.4.4. A bignum mantissa arrives as `_Unsupported` and is refused with it."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:  # noqa: PLR2004 -- exponent and mantissa
        return _UNSUPPORTED
    exponent, mantissa = value
    if type(exponent) is not int or type(mantissa) is not int or not -32 <= exponent <= 32:  # noqa: PLR2004 -- beyond, no double holds it usefully
        return _UNSUPPORTED
    return Decimal(mantissa).scaleb(exponent)


# cbor2 would otherwise build dates, regular expressions, fractions and shared references from a node's bytes.
CBOR_TAGS: Final[dict[int, Any]] = {
    **dict.fromkeys((*range(41), 100, 256, 258, 260, 261, 1004, 43000, 55799), refuse_tag),
    4: _decimal_fraction,
}


def decode_pack(payload: bytes, content_format: int, arrival_ms: int) -> Pack:
    """Decode and resolve one pack.

    Args:
        payload: The CoAP payload.
        content_format: `SENML_CBOR` or `SENML_JSON`.
        arrival_ms: Moment of arrival in ms since the epoch; relative times count from it (RFC 8428 4.5.3).

    Raises:
        PackRefused: No SenML array, over a limit, or without identity. Bad single records never raise.
    """
    if len(payload) > MAX_PACK_BYTES:
        raise PackRefused(f"a pack has at most {MAX_PACK_BYTES} bytes, got {len(payload)}")
    records = _decode_cbor(payload) if content_format == SENML_CBOR else _decode_json(payload)
    if not isinstance(records, list):
        raise PackRefused("expected a SenML array of records")
    if not 2 <= len(records) <= MAX_RECORDS:  # noqa: PLR2004 -- boot and seq
        raise PackRefused(f"expected 2 to {MAX_RECORDS} records, got {len(records)}")
    return _resolve(records, arrival_ms)


def _decode_cbor(payload: bytes) -> object:
    decoder_options: dict[str, Any] = {
        "tag_hook": refuse_tag,
        "semantic_decoders": CBOR_TAGS,
        "max_depth": MAX_NESTING,
        "allow_duplicate_keys": False,
    }
    try:
        stream = io.BytesIO(payload)
        decoded = cbor2.CBORDecoder(stream, **decoder_options).decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise PackRefused(f"not CBOR (RFC 8949): {str(error)[:80]}") from None
    if stream.tell() != len(payload):
        raise PackRefused("not one CBOR item: bytes follow the array")
    return decoded


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[object, object]:
    record: dict[object, object] = {_LABELS.get(key, key): value for key, value in pairs}
    if len(record) != len(pairs):
        raise ValueError("duplicate key")
    return record


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _decode_json(payload: bytes) -> object:
    try:
        return json.loads(payload.decode(), object_pairs_hook=_unique_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PackRefused(f"not JSON (RFC 8259): {str(error)[:80]}") from None


@dataclass(slots=True)
class _Base:
    """Base fields in force (RFC 8428 4.1): each holds until a later record replaces it."""

    name: str = ""
    time_us: int = 0
    unit: str | None = None
    value: float | Decimal = 0

    def update(self, record: dict[Any, Any]) -> None:
        """Take over the record's base fields; a bad one would falsify every later record, so it refuses the pack."""
        if record.get(BVER, SENML_VERSION) != SENML_VERSION:
            raise PackRefused(f"expected SenML version {SENML_VERSION} (bver)")
        try:
            if BN in record:
                self.name = _text(record[BN])
            if BT in record:
                self.time_us = _microseconds(record[BT])
            if BU in record:
                self.unit = _text(record[BU])
            if BV in record:
                self.value = _number(record[BV])
        except _RecordRejected:
            raise PackRefused("a base field (bn, bt, bu, bv) has the wrong type or value") from None


def _resolve(records: list[Any], arrival_ms: int) -> Pack:
    base = _Base()
    boot = _identity(records[0], base, "boot")
    if not (base.name.endswith("/") and NODE_ID.fullmatch(base.name[:-1])):
        raise PackRefused("the first record's bn must be a node id (DNS label) and a slash, like press-7/")
    prefix = base.name
    pack = Pack(prefix[:-1], boot, _identity(records[1], base, "seq", prefix))
    for record in records[2:]:
        if not isinstance(record, dict):
            pack.rejected["record"] += 1
            continue
        base.update(record)
        if N not in record and not any(label in record for label in _VALUE_LABELS):
            continue  # only base fields: legal, and no reading (RFC 8428 4.1)
        try:
            pack.readings.append(_reading(record, base, prefix, arrival_ms))
        except _RecordRejected as rejection:
            pack.rejected[str(rejection)] += 1
            if isinstance(rejection, _TooFarAhead):
                pack.future_ms = max(rejection.time_ms, pack.future_ms or 0)
    return pack


def _identity(record: object, base: _Base, name: str, prefix: str | None = None) -> int:
    if isinstance(record, dict):
        base.update(record)
        value = record.get(V)
        named = isinstance(record.get(N), str) and base.name + record[N] == (prefix or base.name) + name
        if named and type(value) is int and 0 <= value <= MAX_COUNTER:
            return value
    order = "first" if name == "boot" else "second"
    raise PackRefused(f"the {order} record must be {name} with an integer v from 0 to {MAX_COUNTER}")


def _reading(record: dict[Any, Any], base: _Base, prefix: str, arrival_ms: int) -> Reading:
    if any(isinstance(key, str) and key.endswith("_") for key in record):
        raise _RecordRejected("record")  # RFC 8428 4.4: must-understand field that we do not know
    full_name = base.name + _text(record.get(N, ""))
    name = full_name.removeprefix(prefix)
    quantity = QUANTITIES.get(name) if full_name.startswith(prefix) else None
    if quantity is None:
        raise _RecordRejected("name")
    unit = record.get(U, base.unit)
    if quantity.unit is not None and unit is not None and unit != quantity.unit:
        raise _RecordRejected("unit")
    return Reading(name, _time(record.get(T, 0), base, arrival_ms), _value(record, base, quantity))


def _value(record: dict[Any, Any], base: _Base, quantity: Quantity) -> Value:
    present = [label for label in _VALUE_LABELS if label in record]
    if len(present) != 1:
        raise _RecordRejected("type")
    value = record[present[0]]
    if quantity.value_type == "boolean":
        if present[0] != VB or type(value) is not bool:
            raise _RecordRejected("type")
        return value
    if quantity.value_type == "fault":
        if present[0] != VS or not isinstance(value, str):
            raise _RecordRejected("type")
        if value not in quantity.words:
            raise _RecordRejected("value")
        return value
    if present[0] != V:
        raise _RecordRejected("type")
    return _numeric(_number(value), base.value, quantity)


def _numeric(value: float | Decimal, base: float | Decimal, quantity: Quantity) -> float | int:
    if quantity.value_type == "number":
        celsius = float(value) + float(base)
        if not math.isfinite(celsius):
            raise _RecordRejected("value")
        return celsius
    if value % 1 or base % 1:
        raise _RecordRejected("type")
    total = int(value) + int(base)
    if not quantity.minimum <= total < INTEGER_LIMIT:
        raise _RecordRejected("value")
    return total


def _time(value: object, base: _Base, arrival_ms: int) -> int:
    resolved_us = base.time_us + _microseconds(value)
    if resolved_us < RELATIVE_LIMIT_US:
        resolved_us += arrival_ms * 1000
    time_ms = (resolved_us + 500) // 1000
    if time_ms > arrival_ms + FUTURE_LIMIT_MS:
        raise _TooFarAhead(time_ms)
    if time_ms * 1000 < RELATIVE_LIMIT_US:
        raise _RecordRejected("time")
    return time_ms


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _RecordRejected("type")
    return value


def _number(value: object) -> float | Decimal:
    """A finite number below 2**64, so that float() cannot overflow and arithmetic stays cheap."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise _RecordRejected("type")
    if isinstance(value, float):
        if math.isfinite(value):
            return value
    elif -NUMBER_LIMIT < value < NUMBER_LIMIT:
        return value
    raise _RecordRejected("value")


def _microseconds(value: object) -> int:
    """Seconds in any numeric form to whole microseconds, exact for decimal fractions."""
    number = _number(value)
    if not -SECONDS_LIMIT < number < SECONDS_LIMIT:
        raise _RecordRejected("time")
    return round(number * 1_000_000)
