"""The node's half of OSCORE as a client (RFC 8613): AES-CCM-16-64-128, HKDF-SHA-256, no ID context. Pure.

Written from the RFC on `cryptography`'s primitives, apart from the gateway's and the firmware's, so that it can judge them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM: Final = 10  # COSE's number of AES-CCM-16-64-128
_KEY_BYTES: Final = 16
_NONCE_BYTES: Final = 13
_TAG_BYTES: Final = 8
_ID_BYTES: Final = _NONCE_BYTES - 6
_PIV_BYTES: Final = 5
_KID_FLAG: Final = 0x08
_PIV_FLAGS: Final = 0x07


@dataclass(frozen=True, slots=True)
class Binding:
    """What ties a response to its request: the request's Partial IV."""

    piv: bytes


class ClientContext:
    """Keys of one node, as its `keys.json` holds them, and its sender sequence number.

    Args:
        keys: `secret`, `salt`, `sender_id` and `recipient_id`, all in hexadecimal digits.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._secret, self._salt = bytes.fromhex(keys["secret"]), bytes.fromhex(keys["salt"] or "")
        self._own, self._peer = bytes.fromhex(keys["sender_id"]), bytes.fromhex(keys["recipient_id"])
        self._sender = AESCCM(self._derive(self._own, "Key", _KEY_BYTES), _TAG_BYTES)
        self._recipient = AESCCM(self._derive(self._peer, "Key", _KEY_BYTES), _TAG_BYTES)
        self._iv = int.from_bytes(self._derive(b"", "IV", _NONCE_BYTES), "big")
        self._next = 0

    def skip(self, numbers: int) -> None:
        """What a restart does: numbers that may have been used are not used again (RFC 8613 B.1.1)."""
        self._next += numbers

    def protect(self, plaintext: bytes) -> tuple[bytes, bytes, Binding]:
        """(option value, ciphertext, binding) of a request; every call takes a new number."""
        piv = self._next.to_bytes(max(1, (self._next.bit_length() + 7) // 8), "big")
        self._next += 1
        ciphertext = self._sender.encrypt(self._nonce(self._own, piv), plaintext, self._aad(piv))
        return bytes([len(piv) | _KID_FLAG]) + piv + self._own, ciphertext, Binding(piv)

    def open(self, binding: Binding, option: bytes, ciphertext: bytes) -> bytes | None:
        """Plaintext of a response to that request; None where it is not one."""
        length = option[0] & _PIV_FLAGS if option else 0
        piv = option[1 : 1 + length]
        nonce = self._nonce(self._peer, piv) if piv else self._nonce(self._own, binding.piv)
        try:
            return self._recipient.decrypt(nonce, ciphertext, self._aad(binding.piv))
        except (InvalidTag, ValueError):
            return None

    def _derive(self, role: bytes, kind: str, length: int) -> bytes:
        """RFC 8613 3.2.1: info is the CBOR array [id, null, alg, type, L]."""
        info = b"\x85" + _bstr(role) + b"\xf6" + bytes([_ALGORITHM, 0x60 | len(kind)]) + kind.encode() + bytes([length])
        return HKDF(SHA256(), length, self._salt, info).derive(self._secret)

    def _nonce(self, piv_id: bytes, piv: bytes) -> bytes:
        """RFC 8613 5.2."""
        padded = bytes([len(piv_id)]) + piv_id.rjust(_ID_BYTES, b"\0") + piv.rjust(_PIV_BYTES, b"\0")
        return (int.from_bytes(padded, "big") ^ self._iv).to_bytes(_NONCE_BYTES, "big")

    def _aad(self, piv: bytes) -> bytes:
        """RFC 8613 5.4: Enc_structure around [1, [alg], request_kid, request_piv, options]."""
        external = b"\x85\x01\x81" + bytes([_ALGORITHM]) + _bstr(self._own) + _bstr(piv) + b"\x40"
        return b"\x83\x68Encrypt0\x40" + _bstr(external)


def _bstr(value: bytes) -> bytes:
    """A CBOR byte string of up to 255 bytes."""
    short = 24
    return (bytes([0x40 | len(value)]) if len(value) < short else bytes([0x58, len(value)])) + value
