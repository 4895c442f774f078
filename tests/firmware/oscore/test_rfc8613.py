"""RFC 8613 appendix C, byte for byte, and the examples of sections 5.4 and 6.3. (C.1 to C.8; there is no C.9.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from firmware.oscore.vm import Board

SECRET = "0102030405060708090a0b0c0d0e0f10"
SALT = "9e7ca92223786340"
ID_CONTEXT = "37cbf3210017a2d3"


class Keys(NamedTuple):
    salt: str
    id_context: str | None
    sender_id: str
    recipient_id: str
    sender_info: str
    recipient_info: str
    iv_info: str
    sender_key: str
    recipient_key: str
    common_iv: str
    sender_nonce: str
    recipient_nonce: str

    def other_side(self) -> Keys:
        return self._replace(
            sender_id=self.recipient_id,
            recipient_id=self.sender_id,
            sender_info=self.recipient_info,
            recipient_info=self.sender_info,
            sender_key=self.recipient_key,
            recipient_key=self.sender_key,
            sender_nonce=self.recipient_nonce,
            recipient_nonce=self.sender_nonce,
        )


C1 = Keys(
    salt=SALT,
    id_context=None,
    sender_id="",
    recipient_id="01",
    sender_info="8540f60a634b657910",
    recipient_info="854101f60a634b657910",
    iv_info="8540f60a6249560d",
    sender_key="f0910ed7295e6ad4b54fc793154302ff",
    recipient_key="ffb14e093c94c9cac9471648b4f98710",
    common_iv="4622d4dd6d944168eefb54987c",
    sender_nonce="4622d4dd6d944168eefb54987c",
    recipient_nonce="4722d4dd6d944169eefb54987c",
)
C2 = Keys(
    salt="",
    id_context=None,
    sender_id="00",
    recipient_id="01",
    sender_info="854100f60a634b657910",
    recipient_info="854101f60a634b657910",
    iv_info="8540f60a6249560d",
    sender_key="321b26943253c7ffb6003b0b64d74041",
    recipient_key="e57b5635815177cd679ab4bcec9d7dda",
    common_iv="be35ae297d2dace910c52e99f9",
    sender_nonce="bf35ae297d2dace910c52e99f9",
    recipient_nonce="bf35ae297d2dace810c52e99f9",
)
C3 = Keys(
    salt=SALT,
    id_context=ID_CONTEXT,
    sender_id="",
    recipient_id="01",
    sender_info="85404837cbf3210017a2d30a634b657910",
    recipient_info="8541014837cbf3210017a2d30a634b657910",
    iv_info="85404837cbf3210017a2d30a6249560d",
    sender_key="af2a1300a5e95788b356336eeecd2b92",
    recipient_key="e39a0c7c77b43f03b4b39ab9a268699f",
    common_iv="2ca58fb85ff1b81c0b7181b85e",
    sender_nonce="2ca58fb85ff1b81c0b7181b85e",
    recipient_nonce="2da58fb85ff1b81d0b7181b85e",
)


def open_context(board: Board, keys: Keys, start: int) -> None:
    board.call("open_context", "c", SECRET, keys.salt, keys.id_context, keys.sender_id, keys.recipient_id, start, True)


@pytest.mark.parametrize(
    "keys",
    [C1, C1.other_side(), C2, C2.other_side(), C3, C3.other_side()],
    ids=["C.1.1", "C.1.2", "C.2.1", "C.2.2", "C.3.1", "C.3.2"],
)
def test_key_derivation(board: Board, keys: Keys) -> None:
    assert board.call("infos", keys.id_context, keys.sender_id, keys.recipient_id) == [
        keys.sender_info,
        keys.recipient_info,
        keys.iv_info,
    ]
    assert board.call("derive", SECRET, keys.salt, keys.id_context, keys.sender_id, keys.recipient_id) == [
        keys.sender_key,
        keys.recipient_key,
        keys.common_iv,
    ]
    open_context(board, keys, 0)
    assert board.call("nonce", "c", keys.sender_id, "00") == keys.sender_nonce
    assert board.call("nonce", "c", keys.recipient_id, "00") == keys.recipient_nonce


class Request(NamedTuple):
    keys: Keys
    plain: str
    aad: str
    nonce: str
    option: str
    ciphertext: str
    protected: str


C4 = Request(
    keys=C1,
    plain="44015d1f00003974396c6f63616c686f737483747631",
    aad="8368456e63727970743040488501810a40411440",
    nonce="4622d4dd6d944168eefb549868",
    option="0914",
    ciphertext="612f1092f1776f1c1668b3825e",
    protected="44025d1f00003974396c6f63616c686f7374620914ff612f1092f1776f1c1668b3825e",
)
C5 = Request(
    keys=C2,
    plain="440171c30000b932396c6f63616c686f737483747631",
    aad="8368456e63727970743040498501810a4100411440",
    nonce="bf35ae297d2dace910c52e99ed",
    option="091400",
    ciphertext="4ed339a5a379b0b8bc731fffb0",
    protected="440271c30000b932396c6f63616c686f737463091400ff4ed339a5a379b0b8bc731fffb0",
)
C6 = Request(
    keys=C3,
    plain="44012f8eef9bbf7a396c6f63616c686f737483747631",
    aad="8368456e63727970743040488501810a40411440",
    nonce="2ca58fb85ff1b81c0b7181b84a",
    option="19140837cbf3210017a2d3",
    ciphertext="72cd7273fd331ac45cffbe55c3",
    protected="44022f8eef9bbf7a396c6f63616c686f73746b19140837cbf3210017a2d3ff72cd7273fd331ac45cffbe55c3",
)
HEADER = 16  # hex digits of type, code, message id and the 4-byte token


def parts(board: Board, datagram: str) -> tuple[int, list[list[object]], str]:
    """Split a datagram with the firmware's own codec, which `test_aiocoap.py` holds to aiocoap's."""
    code, options, payload = board.call("unpack", datagram[2:4] + datagram[HEADER:])
    return code, options, payload


@pytest.mark.parametrize("case", [C4, C5, C6], ids=["C.4", "C.5", "C.6"])
def test_request(board: Board, case: Request) -> None:
    open_context(board, case.keys, 20)
    assert board.call("aad", "c", case.keys.sender_id, "14") == case.aad
    assert board.call("nonce", "c", case.keys.sender_id, "14") == case.nonce

    code, outer, payload, _ = board.call("protect_request", "c", *parts(board, case.plain))

    assert payload == case.ciphertext
    assert [9, case.option] in outer
    body = board.call("pack", code, outer, payload)
    assert case.protected == case.plain[:2] + body[:2] + case.plain[4:HEADER] + body[2:]

    open_context(board, case.keys.other_side(), 0)
    code, options, payload = parts(board, case.protected)
    assert board.call("find_context", ["c"], options) == ["c"]
    plain = board.call("unprotect_request", "c", options, payload)
    assert tuple(plain[:3]) == parts(board, case.plain)


RESPONSE = "64455d1f00003974ff48656c6c6f20576f726c6421"


@pytest.mark.parametrize(
    ("own_piv", "ciphertext", "protected"),
    [
        (
            False,
            "dbaad1e9a7e7b2a813d3c31524378303cdafae119106",
            "64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106",
        ),
        (
            True,
            "4d4c13669384b67354b2b6175ff4b8658c666a6cf88e",
            "64445d1f00003974920100ff4d4c13669384b67354b2b6175ff4b8658c666a6cf88e",
        ),
    ],
    ids=["C.7", "C.8"],
)
def test_response(board: Board, own_piv: bool, ciphertext: str, protected: str) -> None:  # noqa: FBT001 - a vector's column
    open_context(board, C1.other_side(), 0)
    exchange = board.call("exchange", "", "14", not own_piv, False)

    code, outer, payload = board.call("protect_response", "c", exchange, *parts(board, RESPONSE))

    assert payload == ciphertext
    body = board.call("pack", code, outer, payload)
    assert protected == RESPONSE[:2] + body[:2] + RESPONSE[4:HEADER] + body[2:]

    open_context(board, C1, 0)
    exchange = board.call("exchange", "", "14", True, False)
    _, options, payload = parts(board, protected)
    assert tuple(board.call("unprotect_response", "c", exchange, options, payload)) == parts(board, RESPONSE)


def test_aad_example_of_section_5_4(board: Board) -> None:
    open_context(board, C1, 0)
    assert board.call("aad", "c", "00", "25") == "8368456e63727970743040498501810a4100412540"


@pytest.mark.parametrize(
    ("value", "piv", "kid", "kid_context"),
    [
        ("090525", "05", "25", None),
        ("0900", "00", "", None),
        ("19050544616c656b", "05", "", "44616c656b"),
        ("", "", None, None),
        ("0107", "07", None, None),
    ],
)
def test_compression_examples_of_section_6_3(
    board: Board, value: str, piv: str, kid: str | None, kid_context: str | None
) -> None:
    assert board.call("option_encode", piv, kid, kid_context) == value
    assert board.call("option_decode", value) == [piv, kid, kid_context]


def test_errors_carry_the_answers_of_section_8_2(board: Board) -> None:
    assert board.call("error_answers") == {
        "DecodeError": [0x82, "Failed to decode COSE"],
        "ContextNotFoundError": [0x81, "Security context not found"],
        "ReplayError": [0x81, "Replay detected"],
        "DecryptionError": [0x80, "Decryption failed"],
    }
