"""Ed25519 verification and SHA-512 against RFC 8032, OpenSSL and the standard library."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from firmware.oscore.vm import Board

ORDER = 2**252 + 27742317777372353535851937790883648493
# RFC 8032 7.1, TEST 1 to 3: public key, message, signature
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS, ids=["TEST 1", "TEST 2", "TEST 3"])
def test_vectors_of_rfc_8032(board: Board, key: str, message: str, signature: str) -> None:
    assert board.call("ed25519_verify", key, message, signature) is True
    assert board.call("ed25519_verify", key, message + "00", signature) is False


@few
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(0, 8 * 96 - 1))
def test_agrees_with_openssl_and_refuses_a_flipped_bit(board: Board, seed: bytes, message: bytes, bit: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    both = bytearray(private.public_key().public_bytes_raw() + private.sign(message))
    assert board.call("ed25519_verify", both[:32].hex(), message.hex(), both[32:].hex()) is True
    both[bit // 8] ^= 1 << bit % 8
    assert board.call("ed25519_verify", both[:32].hex(), message.hex(), both[32:].hex()) is False


def test_a_signature_has_one_form(board: Board) -> None:
    key, message, signature = VECTORS[1]
    raw = bytes.fromhex(signature)
    larger = int.from_bytes(raw[32:], "little") + ORDER  # verifies too, unless S >= L is refused (RFC 8032 8.4)
    assert board.call("ed25519_verify", key, message, (raw[:32] + larger.to_bytes(32, "little")).hex()) is False


@pytest.mark.parametrize("cut", [1, 32, 64])
def test_wrong_lengths_are_refused(board: Board, cut: int) -> None:
    key, message, signature = VECTORS[0]
    assert board.call("ed25519_verify", key, message, signature[: 128 - 2 * cut]) is False
    assert board.call("ed25519_verify", key[: max(0, 64 - 2 * cut)], message, signature) is False


@pytest.mark.parametrize("size", [0, 1, 111, 112, 127, 128, 129, 239, 240, 1000])
def test_sha512_at_block_borders(board: Board, size: int) -> None:
    data = bytes(i * 7 & 0xFF for i in range(size))
    assert board.call("sha512", data.hex()) == hashlib.sha512(data).hexdigest()
