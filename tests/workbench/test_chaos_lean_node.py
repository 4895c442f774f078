"""The lean node's messages against what is not ours: the RFC's vectors, cbor2, aiocoap."""

from __future__ import annotations

from decimal import Decimal

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import cbor2
import pytest
from aiocoap.message import Direction  # type: ignore[import-untyped]  # same
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.chaos import message as coap
from andon_workbench.chaos.oscore import ClientContext
from andon_workbench.chaos.pack import Pack, encode

# RFC 8613 C.4: the client of the first test vectors, at sequence number 20.
KEYS = {
    "secret": "0102030405060708090a0b0c0d0e0f10",
    "salt": "9e7ca92223786340",
    "sender_id": "",
    "recipient_id": "01",
}


def client() -> ClientContext:
    context = ClientContext(KEYS)
    context.skip(20)
    return context


def test_request_of_rfc_8613_c4() -> None:
    option, ciphertext, _ = client().protect(bytes.fromhex("01b3747631"))
    assert option.hex() == "0914"
    assert ciphertext.hex() == "612f1092f1776f1c1668b3825e"


@pytest.mark.parametrize(
    ("option", "ciphertext"),
    [
        ("", "dbaad1e9a7e7b2a813d3c31524378303cdafae119106"),  # C.7
        ("0100", "4d4c13669384b67354b2b6175ff4b8658c666a6cf88e"),  # C.8
    ],
)
def test_responses_of_rfc_8613_c7_and_c8(option: str, ciphertext: str) -> None:
    context = client()
    _, _, binding = context.protect(bytes.fromhex("01b3747631"))
    plaintext = context.open(binding, bytes.fromhex(option), bytes.fromhex(ciphertext))
    assert plaintext == bytes.fromhex("45ff48656c6c6f20576f726c6421")
    _, _, other = context.protect(bytes.fromhex("01b3747631"))
    assert context.open(other, bytes.fromhex(option), bytes.fromhex(ciphertext)) is None


@given(
    kind=st.integers(0, 3),
    mid=st.integers(0, 0xFFFF),
    token=st.binary(max_size=8),
    values=st.dictionaries(st.sampled_from([2051, 65000, 271, 300, 2049]), st.binary(max_size=300), max_size=5),
    payload=st.binary(max_size=100),
)
def test_messages_are_those_of_aiocoap(
    kind: int, mid: int, token: bytes, values: dict[int, bytes], payload: bytes
) -> None:
    ours = coap.Message(kind, coap.POST, mid, token, tuple(sorted(values.items())), payload)
    theirs = aiocoap.Message.decode(ours.encode())
    assert (int(theirs.mtype), theirs.mid, theirs.token, theirs.payload) == (kind, mid, token, payload)
    assert [(int(option.number), option.encode()) for option in theirs.opt.option_list()] == list(ours.options)
    theirs.direction = Direction.OUTGOING
    assert coap.decode(theirs.encode()) == ours


@pytest.mark.parametrize("datagram", ["", "40", "8002aaaa", "4002aaaab1", "4002aaaad1", "4002aaaaf0"])
def test_no_message(datagram: str) -> None:
    with pytest.raises(ValueError, match=r"message|option"):
        coap.decode(bytes.fromhex(datagram))


@given(
    boot=st.integers(0, 2**32),
    seq=st.integers(0, 2**32),
    raw=st.integers(-(2**15), 2**15),
    count=st.integers(0, 2**40),
    base_ms=st.integers(-(2**40), 2**42),
)
def test_packs_are_senml(boot: int, seq: int, raw: int, count: int, base_ms: int) -> None:
    pack = Pack(boot, seq, 0, channel=7, raw=raw, count=count, total=count)
    head, number, temperature, cycles = cbor2.loads(encode("press-7", pack, base_ms))
    assert head[-3] == Decimal(base_ms).scaleb(-3)
    assert (head[-2], head[0], head[2]) == ("press-7/", "boot", boot)
    assert number == {0: "seq", 2: seq}
    assert temperature == {0: "temperature/7", 1: "Cel", 2: raw / 16}
    assert cycles == {0: "cycles/0", 1: "count", 2: count}
