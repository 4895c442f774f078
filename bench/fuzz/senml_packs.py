"""Fuzzed packs under a seed: good ones whose values, labels, types, order and bytes are wrong, in CBOR and in JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import cbor2

if TYPE_CHECKING:
    import random

CBOR, JSON = 112, 110
FORMATS: Final = (CBOR, CBOR, CBOR, JSON, JSON, 0, 60, 65000)
MOST_BYTES: Final = 1300
NODES: Final = 200
"""More than one, so that the limit of packs per node does not hide what comes after it."""
_NAMES: Final = ("temperature/0", "temperature/63", "temperature/64", "cycles/0", "relay/0", "input/1", "node/heap_free", "node/reset_cause",
                 "boot", "seq", "", "x" * 300, "temperature/0/fault", "\u0000", "cycles/-1", "../../etc", "temperature/0\n", "\U0001f600")  # fmt: skip
_UNITS: Final = ("Cel", "count", "K", "", None, 7, "J")
_LABELS: Final = (-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -7, 99, "n", "v", "bn", "t_", None)
_JSON_NAMES: Final = {
    -6: "bs", -5: "bv", -4: "bu", -3: "bt", -2: "bn", -1: "bver", 0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_NOW_MS: Final = 1_764_000_000_000


class PackFuzzer:
    """An endless source of packs of the nodes `fuzz-0` to `fuzz-199`, each with a sequence number of its own where it still has one."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._seq = 0

    def next(self) -> tuple[int, bytes]:
        """(content-format, payload)."""
        self._seq += 1
        content_format = self._chance.choice(FORMATS)
        records = self._records()
        try:
            data = self._json(records) if content_format == JSON else cbor2.dumps(records)
        except (ValueError, TypeError, OverflowError, cbor2.CBOREncodeError):
            data = self._chance.randbytes(40)
        if self._chance.random() < 0.4:  # noqa: PLR2004  # most stay well-formed, so that the later checks see something
            data = self._spoil(data)
        return content_format, data[:MOST_BYTES]

    def _records(self) -> Any:
        base: dict[Any, Any] = {-2: f"fuzz-{self._seq % NODES}/", -3: cbor2.CBORTag(4, [-3, _NOW_MS]), 0: "boot", 2: 1}
        records: list[Any] = [base, {0: "seq", 2: self._seq}]
        records += [
            {0: f"temperature/{channel % 64}", 1: "Cel", 2: 20 + channel / 16, 6: cbor2.CBORTag(4, [-3, channel])}
            for channel in range(self._chance.choice((0, 1, 2, 8, 62, 70)))
        ]
        for _ in range(self._chance.choice((0, 1, 1, 2, 5))):
            self._change(records)
        odd = self._chance.random()
        if odd < 0.02:  # noqa: PLR2004  # now and then something else altogether
            return self._value(0)
        return {"e": records} if odd < 0.04 else records  # noqa: PLR2004  # same

    def _change(self, records: list[Any]) -> None:
        what = self._chance.randrange(6)
        record = self._chance.choice(records)
        if what == 0 or not isinstance(record, dict):
            records.insert(self._chance.randrange(len(records) + 1), self._value(0))
        elif what == 1:
            record[self._chance.choice(_LABELS)] = self._value(0)
        elif what == 2:  # noqa: PLR2004  # a case
            record[self._chance.choice((2, 3, 4, 6, -3, -5))] = self._value(0)
        elif what == 3 and record:  # noqa: PLR2004  # same
            del record[self._chance.choice(list(record))]
        elif what == 4:  # noqa: PLR2004  # same
            record[0] = self._chance.choice(_NAMES)
            record[1] = self._chance.choice(_UNITS)
        else:
            records.remove(record)
            records.append(record)

    def _value(self, depth: int) -> Any:  # noqa: PLR0911  # one line for each kind of value
        chance = self._chance
        kind = chance.randrange(10)
        if kind == 0:
            return chance.choice((0, -1, 2**31, 2**63, 2**64 - 1, -(2**64), 2**200, chance.getrandbits(40)))
        if kind == 1:
            return chance.choice((math.nan, math.inf, -math.inf, 1e308, -0.0, 5e-324, 1e22, chance.uniform(-1e6, 1e6)))
        if kind == 2:  # noqa: PLR2004  # a case
            return chance.choice((True, False, None, cbor2.undefined))
        if kind == 3:  # noqa: PLR2004  # same
            return chance.choice(_NAMES)
        if kind == 4:  # noqa: PLR2004  # same
            return chance.randbytes(chance.choice((0, 1, 30)))
        if kind == 5:  # noqa: PLR2004  # same
            return cbor2.CBORTag(
                chance.choice((0, 1, 2, 3, 4, 5, 28, 29, 30, 35, 100, 258, 55799)), self._value(depth + 1)
            )
        if kind == 6:  # noqa: PLR2004  # same
            exponent = chance.choice((-3, 0, 1, 32, 33, -400, 10**9, -(10**9)))
            return cbor2.CBORTag(4, [exponent, chance.choice((1, _NOW_MS, -1, 2**63, 2**70))])
        if kind == 7 and depth < 12:  # noqa: PLR2004  # same
            return [self._value(depth + 1) for _ in range(chance.choice((0, 1, 3)))]
        if kind == 8 and depth < 12:  # noqa: PLR2004  # same
            return {chance.choice(_LABELS): self._value(depth + 1) for _ in range(chance.choice((0, 1, 3)))}
        return cbor2.CBORSimpleValue(chance.choice((0, 19, 32, 255)))

    def _json(self, records: Any) -> bytes:
        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {str(_JSON_NAMES.get(key, key)): plain(item) for key, item in value.items()}
            if isinstance(value, list):
                return [plain(item) for item in value]
            if isinstance(value, cbor2.CBORTag):
                return plain(value.value) if value.tag != 4 else _NOW_MS / 1000  # noqa: PLR2004  # a decimal fraction
            if isinstance(value, bytes):
                return value.hex()
            return value if isinstance(value, (int, float, str, bool, type(None))) else None

        return json.dumps(plain(records)).encode()

    def _spoil(self, data: bytes) -> bytes:
        spoilt = bytearray(data)
        for _ in range(self._chance.choice((1, 1, 2, 8))):
            at = self._chance.randrange(len(spoilt) + 1)
            what = self._chance.randrange(4)
            if what == 0:
                del spoilt[at:]
            elif what == 1:
                # Heads that promise much: indefinite lengths, huge arrays and strings, deep nesting, reserved bytes.
                spoilt[at:at] = self._chance.choice((
                    b"\x9f", b"\xbf", b"\x5f", b"\x7f", b"\xff", b"\x9b" + b"\xff" * 8, b"\xbb" + b"\x7f" * 8, b"\x5a\xff\xff\xff\xff",
                    b"\x81" * 200, b"\xc1" * 100, b"\xfc", b"\x1c", b"[" * 500, b'{"n":' * 50, b"1e999999", b"1" * 400,
                ))  # fmt: skip
            elif at < len(spoilt):
                spoilt[at] = self._chance.randrange(256)
        return bytes(spoilt)
