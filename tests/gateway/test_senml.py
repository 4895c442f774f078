from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cbor2
import pytest
from gateway.packs import decimal_ms, pack, temperature
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.errors import PackRefused
from andon_gateway.senml.pack import MAX_PACK_BYTES, SENML_CBOR, SENML_JSON, Pack, decode_pack
from andon_gateway.vocabulary import QUANTITIES

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "packs.json").read_text())["packs"]
NOW = 1_764_000_000_000


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_shared_vectors(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["cbor"])
    if vector.get("refused"):
        with pytest.raises(PackRefused):
            decode_pack(payload, SENML_CBOR, vector["arrival_ms"])
        return
    decoded = decode_pack(payload, SENML_CBOR, vector["arrival_ms"])
    assert (decoded.node, decoded.boot, decoded.seq) == (vector["node"], vector["boot"], vector["seq"])
    assert [[r.name, r.time_ms, r.value] for r in decoded.readings] == vector["readings"]
    assert decoded.rejected.total() == vector["rejected"]


def decode(*records: object, head: dict[int, Any] | None = None, now: int = NOW) -> Pack:
    """A pack of press-7 with the given records after its identity."""
    first = {-2: "press-7/", 0: "boot", 2: 1, **(head or {})}
    return decode_pack(cbor2.dumps([first, {0: "seq", 2: 0}, *records]), SENML_CBOR, now)


def test_how_far_ahead_the_newest_dropped_record_was_is_kept() -> None:
    days = [
        {0: "temperature/0", 2: 20.0, 6: NOW // 1000 + day * 86_400 + second}
        for day, second in ((1, 0), (3, 0), (2, 0), (-3, 0))
    ]
    pack = decode(*days)
    assert (pack.future_ms, pack.rejected["time"], len(pack.readings)) == (NOW // 1000 * 1000 + 3 * 86_400_000, 2, 2)
    assert decode(days[0]).future_ms is None


def test_json_gives_the_same_as_cbor() -> None:
    text = (
        '[{"bn":"press-7/","bt":1764000000.25,"n":"boot","v":12},{"n":"seq","v":3},'
        '{"n":"temperature/0","u":"Cel","v":41.1875},{"n":"relay/0","vb":true,"t":0.02},'
        '{"n":"temperature/0/fault","vs":"crc"}]'
    )
    decoded = decode_pack(text.encode(), SENML_JSON, NOW)
    assert [(r.name, r.time_ms, r.value) for r in decoded.readings] == [
        ("temperature/0", 1764000000250, 41.1875),
        ("relay/0", 1764000000270, True),
        ("temperature/0/fault", 1764000000250, "crc"),
    ]


def test_base_fields_hold_until_replaced() -> None:
    decoded = decode(
        {-3: decimal_ms(NOW), -5: 10, 0: "temperature/0", 2: 1.5},
        {-5: 0, 0: "temperature/1", 2: 2},
        {-2: "press-7/cycles/", -4: "count", 0: "3", 2: 7},
    )
    assert [(r.name, r.value) for r in decoded.readings] == [
        ("temperature/0", 11.5),
        ("temperature/1", 2.0),
        ("cycles/3", 7),
    ]
    assert not decoded.rejected


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (decimal_ms(-1500), NOW - 1500),  # RFC 8428 4.5.3: below 2**28 counts from now
        (0, NOW),
        (3, NOW + 3000),
        (2**28 - 1, None),  # eight years ahead: further than a day
        (2**28, 2**28 * 1000),  # absolute from here on
        (NOW / 1000 + 86_401, None),
        (1e300, None),
        (-1e11, None),
    ],
)
def test_time(t: Any, expected: int | None) -> None:
    decoded = decode({0: "temperature/0", 2: 1, 6: t})
    assert [r.time_ms for r in decoded.readings] == ([] if expected is None else [expected])
    assert decoded.rejected.total() == (expected is None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({0: "temperature/0", 2: math.inf}, "value"),
        ({0: "temperature/0", 2: True}, "type"),
        ({0: "temperature/0", 2: 2**64}, "type"),  # a bignum (tag 2)
        ({0: "temperature/0", 2: cbor2.CBORTag(4, [1_000_000_000, 1])}, "type"),
        ({0: "temperature/0", 2: cbor2.CBORTag(4, [0, 2**70])}, "type"),
        ({0: "temperature/0", 2: cbor2.CBORTag(35, "a")}, "type"),
        ({0: "temperature/0", 1: "K", 2: 300}, "unit"),
        ({0: "temperature/0"}, "type"),
        ({0: "temperature/0", 2: 1, 4: True}, "type"),
        ({0: "temperature/00", 2: 1}, "name"),
        ({0: "temperature/0/fault", 3: "melted"}, "value"),
        ({0: "relay/0", 2: 1}, "type"),
        ({0: "cycles/0", 2: 1.5}, "type"),
        ({0: "cycles/0", 2: 2**53}, "value"),
        ({0: "temperature/0", 2: 1, "secret_": 1}, "record"),
        ({2: 1}, "name"),
        ("text", "record"),
        ({-2: "other/", 0: "temperature/0", 2: 1}, "name"),
    ],
)
def test_a_bad_record_is_dropped_alone(record: Any, reason: str) -> None:
    decoded = decode(record, {-2: "press-7/", 0: "temperature/9", 2: 5})
    assert [r.name for r in decoded.readings] == ["temperature/9"]
    assert dict(decoded.rejected) == {reason: 1}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80",
        cbor2.dumps([{-2: "press-7/", 0: "boot", 2: 1}, {0: "seq", 2: 0}]) + b"\x00",
        cbor2.dumps([{-2: "press-7/", 0: "boot", 2: True}, {0: "seq", 2: 0}]),
        cbor2.dumps([{-2: "press-7/", 0: "boot", 2: 2**32}, {0: "seq", 2: 0}]),
        cbor2.dumps([{-2: "press-7/", 0: "boot", 2: 1}, {0: "seq", 2: -1}]),
        cbor2.dumps([{-2: "press-7/", -1: 11, 0: "boot", 2: 1}, {0: "seq", 2: 0}]),
        cbor2.dumps([{-2: "press-7/", -3: "now", 0: "boot", 2: 1}, {0: "seq", 2: 0}]),
        cbor2.dumps([{-2: "press-7/", 0: "boot", 2: 1}, {0: "seq", 2: 0}] + [{}] * 63),
        b"\x81" * 500 + b"\x80",
        b"\x82\xa3\x21hpress-7/\x00dboot\x00dboot",  # duplicate key
        pack("press-7", 1, 0, *[temperature(1.0)] * 50),
    ],
)
def test_refused_whole(payload: bytes) -> None:
    with pytest.raises(PackRefused, match=r"^[ -~]+$"):
        decode_pack(payload, SENML_CBOR, NOW)


@pytest.mark.parametrize(
    "text", ["[" * 1000, '[{"bn":"a/","n":"boot","v":NaN}]', "{", "\xff", "[1e999,1]", '[{"n":1,"n":2},{}]']
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(PackRefused):
        decode_pack(text.encode("latin-1"), SENML_JSON, NOW)


def test_indefinite_length_array_is_read() -> None:
    body = b"".join(map(cbor2.dumps, [{-2: "a/", 0: "boot", 2: 1}, {0: "seq", 2: 0}, {0: "temperature/0", 2: 1}]))
    assert len(decode_pack(b"\x9f" + body + b"\xff", SENML_CBOR, NOW).readings) == 1


def _check(payload: bytes, content_format: int) -> None:
    try:
        decoded = decode_pack(payload, content_format, NOW)
    except PackRefused:
        return
    for reading in decoded.readings:
        assert reading.name in QUANTITIES
        assert reading.time_ms <= NOW + 86_400_000
        if isinstance(reading.value, float):
            assert math.isfinite(reading.value)


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=MAX_PACK_BYTES + 1), st.sampled_from([SENML_CBOR, SENML_JSON]))
def test_any_bytes_are_refused_or_decoded(payload: bytes, content_format: int) -> None:
    _check(payload, content_format)


_scalars = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.booleans()
    | st.none()
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.builds(lambda e, m: cbor2.CBORTag(4, [e, m]), st.integers(-(2**40), 2**40), st.integers(-(2**70), 2**70))
    | st.builds(cbor2.CBORTag, st.integers(6, 70_000), st.integers(0, 3))
    | st.builds(cbor2.CBORSimpleValue, st.integers(32, 255))
)
_names = st.sampled_from([*list(QUANTITIES)[::17], "node/rssi", "boot", "seq", ""]) | st.text(max_size=4)
_records = st.dictionaries(st.integers(-6, 8), _scalars | st.lists(_scalars, max_size=2), max_size=5)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(_records, _names), max_size=8))
def test_any_records_are_refused_or_decoded(records: list[tuple[dict[int, Any], str]]) -> None:
    body = [{-2: "press-7/", 0: "boot", 2: 1}, {0: "seq", 2: 0}, *({0: name, **record} for record, name in records)]
    _check(cbor2.dumps(body), SENML_CBOR)


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(VECTORS), st.data())
def test_flipped_and_cut_vectors_never_raise(vector: dict[str, Any], data: st.DataObject) -> None:
    payload = bytearray.fromhex(vector["cbor"])
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    _check(bytes(payload[: data.draw(st.integers(0, len(payload)))]), SENML_CBOR)
    _check(bytes(payload), SENML_CBOR)
