"""The quick decoder against the general one: it may give up, but never disagree, whatever it has learnt before."""

from __future__ import annotations

import random
from typing import Any

import cbor2
import pytest
from gateway.packs import cycles, decimal_ms, pack, temperature
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.errors import PackRefused
from andon_gateway.senml import quick as senml_quick
from andon_gateway.senml.pack import SENML_CBOR, Pack, decode_pack
from andon_gateway.senml.quick import QuickDecoder
from andon_gateway.vocabulary import QUANTITIES

NOW = 1_764_000_000_000
NAMES = ["temperature/0", "temperature/1", "cycles/0", "energy/3", "relay/0", "input/2", "node/rssi", "node/uptime_s",
         "temperature/0/fault", "node/clock", "humidity/63", "boot", "nonsense"]  # fmt: skip


def general(payload: bytes) -> Pack | None:
    try:
        return decode_pack(payload, SENML_CBOR, NOW)
    except PackRefused:
        return None


def agree(quick: QuickDecoder, payload: bytes) -> bool:
    """Whether the quick decoder took the pack, which has to be just as the general one takes it."""
    found = quick.decode(payload, NOW)
    if found is None:
        return False
    expected = general(payload)
    assert expected is not None, payload.hex()
    assert found == expected, payload.hex()
    assert repr(found.readings) == repr(expected.readings)  # 1 is not 1.0 here, nor 0.0 -0.0
    if found.counted is not None:
        assert all(type(reading.value) in (int, float) for reading in found.readings)
        cumulative = [number for number, item in enumerate(found.readings) if QUANTITIES[item.name].cumulative]
        assert list(found.counted) == cumulative
    return True


VALUES = st.one_of(
    st.integers(-(2**66), 2**66), st.integers(-300, 300), st.floats(), st.floats(width=16), st.floats(width=32), st.booleans(),
    st.sampled_from(["ok", "crc", "estimated", "", None, -0.0, 0.0, 2**53, 2**53 - 1, 2**32]), st.lists(st.integers(), max_size=2),
)  # fmt: skip
TIMES = st.one_of(
    st.integers(-100_000, 100_000).map(decimal_ms), st.integers(-1000, 1000), st.floats(-10, 10), st.just(0),
    st.sampled_from([2**50, -(2**50)]).map(decimal_ms), st.integers(-5, 5).map(lambda exponent: cbor2.CBORTag(4, [exponent, 7])),
    st.sampled_from([2**40, -(2**40), "x", True, None]), st.lists(st.integers(-3, 3), max_size=2),
)  # fmt: skip
RECORDS = st.dictionaries(
    st.sampled_from([0, 1, 2, 3, 4, 6, 8, -2, -3, -5, "x_", 5]), st.one_of(VALUES, TIMES), max_size=2
).flatmap(
    lambda odd: st.fixed_dictionaries(
        {0: st.sampled_from(NAMES)},
        optional={1: st.sampled_from(["Cel", "count", "J", "dBm", "s", "%RH"]), 2: VALUES, 4: st.booleans(), 6: TIMES},
    ).map(lambda record: {**record, **odd})
)
USUAL = st.one_of(
    st.builds(lambda v, c, t: {0: f"temperature/{c}", 1: "Cel", 2: v, 6: t}, st.floats(-50, 500), st.integers(0, 9), TIMES),
    st.builds(lambda v, t: {0: "cycles/0", 1: "count", 2: v, 6: t}, st.integers(0, 2**33), TIMES),
    st.builds(lambda v: {0: "node/rssi", 1: "dBm", 2: v}, st.integers(-120, 0)),
    st.builds(lambda v: {0: "relay/0", 4: v, 6: decimal_ms(20)}, st.booleans()),
    st.just({0: "temperature/0/fault", 3: "crc"}),
)  # fmt: skip
HEADS = st.fixed_dictionaries(
    {-2: st.sampled_from(["press-7/", "press-8/", "p" * 63 + "/", "Press/", "press-7", 7]), 0: st.just("boot")},
    optional={-3: st.one_of(TIMES, st.integers(NOW - 10**6, NOW + 10**6).map(decimal_ms)), 2: st.integers(0, 2**33), 1: st.just("Cel")},
)  # fmt: skip


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    head = draw(HEADS)
    order = draw(st.permutations(list(head)))
    second = {0: "seq", 2: draw(st.integers(0, 2**32 + 1))}
    records: list[Any] = [{key: head[key] for key in order}, second]
    records += draw(st.lists(st.one_of(USUAL, USUAL, USUAL, RECORDS), max_size=8))
    data = bytearray(cbor2.dumps(records))
    if draw(st.integers(0, 4)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 9)) == 0:
        data += draw(st.binary(max_size=2))
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(st.lists(payloads(), min_size=1, max_size=6))
def test_one_decoder_agrees_over_any_sequence(sequence: list[bytes]) -> None:
    quick = QuickDecoder()
    for payload in [*sequence, *sequence]:  # the second time with what was learnt
        agree(quick, payload)


def usual(seq: int, celsius: float, base_ms: int = NOW) -> bytes:
    readings = [temperature(celsius + channel if channel else celsius, channel, 20 * channel) for channel in range(6)]
    flags: list[dict[int, Any]] = [{0: "relay/0", 4: seq % 2 == 0}, {0: "node/rssi", 1: "dBm", 2: -61}]
    return pack("press-7", 3, seq, *readings, cycles(seq, 0, 7), *flags, base_ms=base_ms)


def test_every_spoilt_byte_of_a_learnt_pack() -> None:
    """All 256 values at each place, against a decoder that knows the pack's shape."""
    quick = QuickDecoder()
    payload = usual(1000, 41.5)
    assert agree(quick, payload)
    taken = sum(
        agree(quick, payload[:at] + bytes([value]) + payload[at + 1 :])
        for at in range(len(payload))
        for value in (*range(0, 256, 5), 0xF4, 0xF5, 0xFF, 0x17, 0x18)
    )
    assert taken > len(payload), "nearly everything is given up: this compares nothing"


def test_usual_packs_are_taken_by_their_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(7)
    quick = QuickDecoder()
    for seq in range(24, 240):
        assert agree(quick, usual(seq, dice.uniform(-40, 900), NOW + seq))
    monkeypatch.setattr(QuickDecoder, "_general", lambda *_: pytest.fail("a known shape went the long way"))
    for seq in range(24, 240):
        assert agree(quick, usual(seq, dice.uniform(-40, 900), NOW + seq))


def test_packs_of_no_known_epoch_and_with_zero_values() -> None:
    quick = QuickDecoder()
    for _ in range(2):
        for base_ms in (-5000, -300, NOW, -(10**9)):
            for celsius in (0.0, -0.0, 1.5, 100, -7, 2**40):
                assert agree(quick, usual(100, celsius, base_ms))
        agree(quick, usual(100, float("nan")))
        agree(quick, usual(100, float("inf")))
        agree(quick, usual(100, 1.0, NOW + 2 * 86_400_000))


def test_what_is_learnt_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senml_quick, "_MOST_KNOWN", 8)
    monkeypatch.setattr(senml_quick, "_MOST_SHAPES", 8)
    quick = QuickDecoder()
    for number in range(40):
        names = [temperature(1.5, channel) for channel in range(2 + number % 20)]
        assert agree(quick, pack(f"press-{number}", 1, number, *names, base_ms=NOW))
    assert len(quick._known) <= 8
    assert len(quick._shapes) <= 8
    assert all(len(known.shapes) <= 4 for known in quick._known.values())
