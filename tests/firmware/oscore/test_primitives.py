"""CCM, HMAC, HKDF and the codecs against independent implementations and their RFCs."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from firmware.oscore.vm import BoardError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from firmware.oscore.vm import Board

# The board is only a function here, so sharing it between examples is sound.
shared_board = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

KEYS = st.binary(min_size=16, max_size=16)
NONCES = st.binary(min_size=13, max_size=13)


@shared_board
@given(KEYS, NONCES, st.binary(max_size=80), st.binary(max_size=300))
def test_ccm_agrees_with_openssl(board: Board, key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> None:
    sealed = AESCCM(key, tag_length=8).encrypt(nonce, plain, aad)
    assert board.call("ccm_seal", key.hex(), nonce.hex(), aad.hex(), plain.hex()) == sealed.hex()
    assert board.call("ccm_open", key.hex(), nonce.hex(), aad.hex(), sealed.hex()) == ["ok", plain.hex()]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 1024, 4095, 4096, 4097])
def test_ccm_at_block_borders(board: Board, size: int) -> None:
    key, nonce, plain = bytes(range(16)), bytes(13), bytes(i & 0xFF for i in range(size))
    for aad in (b"", bytes(13), bytes(14), bytes(15), bytes(30), bytes(1000)):
        sealed = AESCCM(key, tag_length=8).encrypt(nonce, plain, aad)
        assert board.call("ccm_seal", key.hex(), nonce.hex(), aad.hex(), plain.hex()) == sealed.hex()


@shared_board
@given(KEYS, NONCES, st.binary(max_size=40), st.binary(max_size=120), st.data())
def test_ccm_releases_nothing_of_a_forged_message(
    board: Board, key: bytes, nonce: bytes, aad: bytes, plain: bytes, data: st.DataObject
) -> None:
    sealed = bytearray(AESCCM(key, tag_length=8).encrypt(nonce, plain, aad))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidTag):
        AESCCM(key, tag_length=8).decrypt(nonce, bytes(sealed), aad)
    answer = board.call("ccm_open", key.hex(), nonce.hex(), aad.hex(), sealed.hex())
    assert answer == ["DecryptionError", bytes(len(plain)).hex()]


@pytest.mark.parametrize("size", range(8))
def test_ccm_refuses_less_than_a_tag(board: Board, size: int) -> None:
    assert board.call("ccm_open", "00" * 16, "00" * 13, "", "00" * size)[0] == "DecryptionError"


@shared_board
@given(st.binary(max_size=140), st.lists(st.binary(max_size=90), max_size=3))
def test_hmac_agrees_with_the_standard_library(board: Board, key: bytes, parts: list[bytes]) -> None:
    expected = hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest()
    assert board.call("hmac", key.hex(), [part.hex() for part in parts]) == expected


# RFC 5869 appendix A.1 to A.3: salt, IKM, info, length, PRK, OKM
HKDF_VECTORS = [
    (
        bytes(range(0x0D)).hex(),
        "0b" * 22,
        bytes(range(0xF0, 0xFA)).hex(),
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0x50)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        "",
        "0b" * 22,
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("salt", "secret", "info", "length", "key", "output"), HKDF_VECTORS, ids=["A.1", "A.2", "A.3"])
def test_hkdf_vectors_of_rfc_5869(
    board: Board, salt: str, secret: str, info: str, length: int, key: str, output: str
) -> None:
    assert board.call("derive_hkdf", salt, secret, info, length) == [key, output]


@shared_board
@given(st.binary(max_size=5), st.none() | st.binary(max_size=7), st.none() | st.binary(max_size=255))
def test_option_decodes_what_it_encodes(board: Board, piv: bytes, kid: bytes | None, kid_context: bytes | None) -> None:
    def hexed(value: bytes | None) -> str | None:
        return None if value is None else value.hex()

    value = board.call("option_encode", piv.hex(), hexed(kid), hexed(kid_context))
    assert board.call("option_decode", value) == [piv.hex(), hexed(kid), hexed(kid_context)]


@pytest.mark.parametrize(
    "value",
    [
        "00",
        "06000000000000",
        "0700000000000000",
        "2900",
        "4900",
        "8900",
        "02ff",
        "10",
        "1002ff",
        "11ff",
        "1901",
        "0105ff",
    ],
)
def test_option_refuses_what_section_6_1_forbids(board: Board, value: str) -> None:
    with pytest.raises(BoardError) as refused:
        board.call("option_decode", value)
    assert refused.value.kind == "DecodeError"


@shared_board
@given(st.binary(min_size=1, max_size=60))
def test_any_plaintext_is_read_or_refused(board: Board, plain: bytes) -> None:
    try:
        read = board.call("unpack", plain.hex())
    except BoardError as error:
        if error.kind != "DecodeError":
            raise
    else:
        assert board.call("unpack", board.call("pack", *read)) == read
