"""The gateway's OSCORE on bytes: RFC 8613's vectors, aiocoap's OSCORE as the other side, and sequence numbers through failures."""

from __future__ import annotations

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from aiocoap import oscore as peer_oscore
from gateway.oscore_peer import PeerContext
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.errors import StorageUnavailable
from andon_gateway.security.oscore import (
    MAX_NUMBER,
    Credential,
    DecryptionError,
    EchoRequired,
    OscoreError,
    ReplayError,
    ReplayWindow,
    SecurityContext,
    decode_option,
    encode_option,
    encode_piv,
)
from andon_gateway.security.oscore_keys import LOW_WATER, STEP, StoredNumbers
from andon_gateway.security.oscore_site import message_of, plaintext_of

SECRET = bytes.fromhex("0102030405060708090a0b0c0d0e0f10")
SALT = bytes.fromhex("9e7ca92223786340")


class Counting:
    """Numbers without a disk."""

    def __init__(self, first: int) -> None:
        self.next = first

    def take(self) -> int:
        self.next += 1
        return self.next - 1


def context(node_id: bytes, gateway_id: bytes, first: int = 0, salt: bytes = SALT) -> SecurityContext:
    return SecurityContext(Credential("press-7", SECRET, salt, node_id, gateway_id), Counting(first))


def test_rfc_8613_c4_request_of_the_client() -> None:
    """C.4: sender id empty, recipient id 01; as the server we see the nonce and the AAD through the tag alone."""
    server = context(b"", b"\x01")
    server.window.restart(19)
    option, ciphertext = bytes.fromhex("0914"), bytes.fromhex("612f1092f1776f1c1668b3825e")
    plaintext, _ = server.unprotect_request(option, ciphertext)
    assert plaintext == bytes.fromhex("01b3747631")  # GET /tv1
    client = context(b"\x01", b"", first=20)
    assert client.protect_request(plaintext)[:2] == (option, ciphertext)


def test_rfc_8613_c5_another_sender_id() -> None:
    server = context(b"\x00", b"\x01", salt=b"")
    server.window.restart(19)
    plaintext, _ = server.unprotect_request(bytes.fromhex("091400"), bytes.fromhex("4ed339a5a379b0b8bc731fffb0"))
    assert plaintext == bytes.fromhex("01b3747631")


def test_rfc_8613_c7_and_c8_responses() -> None:
    plaintext = bytes.fromhex("45ff48656c6c6f20576f726c6421")  # 2.05 "Hello World!"
    for own_number, expected in (
        (False, ("", "dbaad1e9a7e7b2a813d3c31524378303cdafae119106")),
        (True, ("0100", "4d4c13669384b67354b2b6175ff4b8658c666a6cf88e")),
    ):
        server = context(b"", b"\x01")
        server.window.restart(19)
        _, binding = server.unprotect_request(bytes.fromhex("0914"), bytes.fromhex("612f1092f1776f1c1668b3825e"))
        binding.nonce_free = not own_number
        option, ciphertext = server.protect_response(binding, plaintext)
        assert (option.hex(), ciphertext.hex()) == expected
        client = context(b"\x01", b"", first=20)
        *_, request = client.protect_request(bytes.fromhex("01b3747631"))
        assert client.unprotect_response(request, option, ciphertext) == plaintext


IDS = st.lists(st.binary(max_size=7), min_size=2, max_size=2, unique=True)
MESSAGES = st.builds(
    lambda path, payload, content_format: aiocoap.Message(
        code=aiocoap.POST, uri_path=path, payload=payload, content_format=content_format
    ),
    st.lists(st.text("abcdef-", min_size=1, max_size=20), max_size=3),
    st.binary(max_size=1024),
    st.none() | st.integers(0, 65535),
)


def same(one: aiocoap.Message, other: aiocoap.Message) -> bool:
    return bool(plaintext_of(one) == plaintext_of(other))


def through_the_air(message: aiocoap.Message) -> aiocoap.Message:
    message.mtype, message.mid, message.token = aiocoap.CON, 1, b"t"
    return aiocoap.Message.decode(message.encode())


def pair(ids: list[bytes], first: int) -> tuple[SecurityContext, PeerContext]:
    ours = context(ids[0], ids[1], first)
    keys = {"secret": SECRET.hex(), "salt": SALT.hex(), "sender_id": ids[0].hex(), "recipient_id": ids[1].hex()}
    return ours, PeerContext(keys, first=first)


@settings(deadline=None)
@given(IDS, st.integers(0, MAX_NUMBER - 10), MESSAGES, MESSAGES)
def test_aiocoap_asks_us(ids: list[bytes], first: int, request: aiocoap.Message, answer: aiocoap.Message) -> None:
    ours, peer = pair(ids, first)
    sent, _ = peer.protect(request.copy())
    sent = through_the_air(sent)
    with pytest.raises(EchoRequired) as required:
        ours.unprotect_request(sent.opt.oscore, sent.payload)
    assert required.value.binding.nonce_free is False
    sent, request_id = peer.protect(request.copy(echo=ours.echo))
    sent = through_the_air(sent)
    plaintext, binding = ours.unprotect_request(sent.opt.oscore, sent.payload)
    assert same(message_of(plaintext), request.copy(echo=ours.echo))
    with pytest.raises(ReplayError):
        ours.unprotect_request(sent.opt.oscore, sent.payload)
    answer.code = aiocoap.CHANGED
    option, ciphertext = ours.protect_response(binding, plaintext_of(answer))
    over = through_the_air(aiocoap.Message(code=aiocoap.CHANGED, oscore=option, payload=ciphertext))
    got, _ = peer.unprotect(over, request_id)
    assert same(got, answer)


@settings(deadline=None)
@given(IDS, st.integers(0, MAX_NUMBER - 10), MESSAGES, MESSAGES)
def test_we_ask_aiocoap(ids: list[bytes], first: int, request: aiocoap.Message, answer: aiocoap.Message) -> None:
    ours, peer = pair(ids, first)
    option, ciphertext, binding = ours.protect_request(plaintext_of(request))
    over = through_the_air(aiocoap.Message(code=aiocoap.POST, oscore=option, payload=ciphertext))
    got, request_id = peer.unprotect(over)
    assert same(got, request)
    answer.code = aiocoap.CHANGED
    sent, _ = peer.protect(answer.copy(), request_id)
    sent = through_the_air(sent)
    assert same(message_of(ours.unprotect_response(binding, sent.opt.oscore, sent.payload)), answer)


def test_every_flipped_bit_is_refused() -> None:
    ours, peer = pair([b"\x07", b"\x00"], 5)
    ours.window.restart(0)
    sent, _ = peer.protect(aiocoap.Message(code=aiocoap.POST, uri_path=("t",), payload=b"pack"))
    whole = bytearray(sent.opt.oscore + sent.payload)
    size = len(sent.opt.oscore)
    for bit in range(8 * len(whole)):
        whole[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(OscoreError):
            ours.unprotect_request(bytes(whole[:size]), bytes(whole[size:]))
        whole[bit >> 3] ^= 1 << (bit & 7)
    ours.unprotect_request(bytes(whole[:size]), bytes(whole[size:]))


@given(st.lists(st.integers(0, 120), max_size=200), st.integers(0, 60))
def test_the_window_accepts_no_number_twice(numbers: list[int], start: int) -> None:
    ours, theirs = ReplayWindow(), peer_oscore.ReplayWindow(32, lambda: None)
    assert not ours.is_new(0)
    ours.restart(start)
    theirs.initialize_from_freshlyseen(start)
    accepted: set[int] = set()
    for number in numbers:
        new = ours.is_new(number)
        assert new == (number > start and theirs.is_valid(number))
        if new:
            assert number not in accepted
            accepted.add(number)
            ours.accept(number)
            theirs.strike_out(number)


@given(st.binary(max_size=20))
def test_options_are_read_or_refused(value: bytes) -> None:
    try:
        piv, kid = decode_option(value)
    except OscoreError:
        return
    assert encode_option(piv, kid) == value


@given(st.binary(max_size=60), st.binary(max_size=12))
def test_garbage_is_refused(ciphertext: bytes, option: bytes) -> None:
    with pytest.raises(OscoreError):
        context(b"\x01", b"\x00").unprotect_request(option, ciphertext)
    ours = context(b"\x01", b"\x00")
    *_, binding = ours.protect_request(b"\x01")
    with pytest.raises(OscoreError):
        ours.unprotect_response(binding, option, ciphertext)


def test_wrong_keys_are_refused() -> None:
    ours, _ = pair([b"\x01", b"\x00"], 0)
    other = SecurityContext(Credential("x", bytes(16), SALT, b"\x00", b"\x01"), Counting(3))
    option, ciphertext, _ = other.protect_request(b"\x02")
    ours.window.restart(0)
    with pytest.raises(DecryptionError):
        ours.unprotect_request(option, ciphertext)


@given(st.lists(st.sampled_from(["take", "commit", "fail", "kill"]), max_size=60), st.integers(1, 400))
def test_no_number_is_given_out_twice_whatever_happens_to_disk_and_process(steps: list[str], bulk: int) -> None:
    """The model's disk: a bound is durable when its commit comes; a kill loses everything else."""
    durable = STEP
    ordered: list[int] = []
    numbers = StoredNumbers(0, durable, ordered.append)
    taken = -1
    for step in steps:
        if step == "take":
            for _ in range(bulk):
                try:
                    number = numbers.take()
                except StorageUnavailable:
                    break
                assert number > taken
                taken = number
        elif step == "kill":
            first, durable = durable, durable + STEP
            ordered = []
            numbers = StoredNumbers(first, durable, ordered.append)
        elif ordered:
            bound = ordered.pop()
            durable = bound if step == "commit" else durable
            numbers.extend(bound if step == "commit" else None)
        assert taken < durable


def test_the_next_step_is_ordered_before_the_last_number() -> None:
    ordered: list[int] = []
    numbers = StoredNumbers(0, STEP, ordered.append)
    for _ in range(STEP - LOW_WATER):
        numbers.take()
    assert ordered == []
    numbers.take()
    assert ordered == [2 * STEP]


@pytest.mark.parametrize(("number", "piv"), [(0, "00"), (255, "ff"), (256, "0100"), (MAX_NUMBER, "ff" * 5)])
def test_partial_ivs(number: int, piv: str) -> None:
    assert encode_piv(number).hex() == piv
