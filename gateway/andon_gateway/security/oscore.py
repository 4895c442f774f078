"""OSCORE (RFC 8613) on bytes: AES-CCM-16-64-128 and HKDF-SHA-256, requests and responses, replay window, Echo recovery.

The plaintext of a message is what RFC 8613 5.3 calls it: code, inner options, payload marker and payload, as they stand in a
CoAP message. Whoever calls this module keeps its own option codec; nothing here knows a CoAP library, a clock or a disk.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALG_AES_CCM_16_64_128: Final = 10  # COSE
KEY_BYTES: Final = 16
NONCE_BYTES: Final = 13
TAG_BYTES: Final = 8
MAX_ID_BYTES: Final = NONCE_BYTES - 6  # RFC 8613 3.3
MAX_PIV_BYTES: Final = 5
MAX_NUMBER: Final = (1 << 40) - 1  # RFC 8613 7.2.1
WINDOW: Final = 32  # RFC 8613 3.2.2
ECHO: Final = 252  # RFC 9175 2.2.1
ECHO_BYTES: Final = 8
UNAUTHORIZED: Final = 0x81
_SHORT: Final = 24  # CBOR: longer byte strings need a length byte
_PIV_FLAGS, _KID_FLAG, _KID_CONTEXT_FLAG, _RESERVED_FLAGS = 0x07, 0x08, 0x10, 0xE0
_MARKER: Final = 0xFF
# RFC 7252 3.1: an option nibble of 13 has one byte more, 14 two, 15 is reserved
_ONE_MORE, _TWO_MORE, _BASE_OF_TWO = 13, 14, 269


class OscoreError(Exception):
    """A message is not acceptable.

    Attributes:
        code: CoAP code that RFC 8613 8.2 lets a server answer with, unprotected and with Max-Age 0.
    """

    code = 0x80


class DecodeError(OscoreError):
    """The option or the plaintext is malformed."""

    code = 0x82


class UnknownContextError(OscoreError):
    """Nobody here has keys for this sender."""

    code = UNAUTHORIZED


class ReplayError(OscoreError):
    """The Partial IV was seen before, or is too old to know."""

    code = UNAUTHORIZED


class DecryptionError(OscoreError):
    """Wrong key, or changed on the way."""


class EchoRequired(OscoreError):  # noqa: N818 -- an authentic request that has to prove its freshness, not a fault
    """Authentic, but perhaps older than our start: answer with a challenge (RFC 8613 B.1.2)."""

    code = UNAUTHORIZED

    def __init__(self, binding: Binding) -> None:
        super().__init__("the replay window was lost in a restart")
        self.binding = binding


class Numbers(Protocol):
    """Sender sequence numbers, each given out once for these keys, whatever happens to the process."""

    def take(self) -> int:
        """Return the next number; raise `StorageUnavailable` while none is safe to use."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The keys of one node, as the cloud made them. `node_id` is the node's sender id (kid), `gateway_id` ours."""

    node: str
    secret: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    node_id: bytes
    gateway_id: bytes


@dataclass(slots=True)
class Binding:
    """What ties responses to their request (RFC 8613 7.1)."""

    kid: bytes
    piv: bytes
    nonce_free: bool


class ReplayWindow:
    """The newest 32 numbers (RFC 6347 4.1.2.6). Unusable until `restart`: nobody knows what a process before saw."""

    __slots__ = ("_seen", "_top", "usable")

    def __init__(self) -> None:
        self.usable = False
        self._top = -1
        self._seen = 0

    def is_new(self, number: int) -> bool:
        """True if the number was surely not received before."""
        age = self._top - number
        return self.usable and (age < 0 or (age < WINDOW and not self._seen >> age & 1))

    def accept(self, number: int) -> None:
        """Mark a number that `is_new`, once its message was verified."""
        ahead = number - self._top
        if ahead <= 0:
            self._seen |= 1 << -ahead
            return
        self._top = number
        self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)

    def restart(self, number: int) -> None:
        """Begin with the number of a message proven fresh: it and everything below counts as received."""
        self.usable = True
        self._top = number
        self._seen = (1 << WINDOW) - 1


def _bstr(value: bytes) -> bytes:
    head = bytes([0x40 | len(value)]) if len(value) < _SHORT else bytes([0x58, len(value)])
    return head + value


def _derive(credential: Credential, role: bytes, kind: bytes, length: int) -> bytes:
    """Sender key, recipient key or Common IV (RFC 8613 3.2.1)."""
    info = b"\x85" + _bstr(role) + b"\xf6" + bytes([ALG_AES_CCM_16_64_128, 0x60 | len(kind)]) + kind + bytes([length])
    return HKDF(SHA256(), length, credential.salt, info).derive(credential.secret)


def _aad(kid: bytes, piv: bytes) -> bytes:
    """Enc_structure around [1, [alg], request_kid, request_piv, h''] (RFC 8613 5.4)."""
    external = b"\x85\x01\x81" + bytes([ALG_AES_CCM_16_64_128]) + _bstr(kid) + _bstr(piv) + b"\x40"
    return b"\x83\x68Encrypt0\x40" + _bstr(external)


def encode_piv(number: int) -> bytes:
    """Big-endian without leading zeros, at least one byte (RFC 8613 5)."""
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def encode_option(piv: bytes, kid: bytes | None = None) -> bytes:
    """The OSCORE option's value (RFC 8613 6.1); empty for a response without a Partial IV."""
    flags = len(piv) | (0 if kid is None else _KID_FLAG)
    return bytes([flags]) + piv + (kid or b"") if flags else b""


def decode_option(value: bytes) -> tuple[bytes, bytes | None]:
    """(Partial IV, kid) of an option's value. Kid contexts are not in use here.

    Raises:
        DecodeError: Malformed (RFC 8613 6.1).
        UnknownContextError: It names a kid context.
    """
    if not value:
        return b"", None
    flags = value[0]
    length = flags & _PIV_FLAGS
    if flags & _RESERVED_FLAGS or not flags or length > MAX_PIV_BYTES or 1 + length > len(value):
        raise DecodeError("Failed to decode COSE")
    if flags & _KID_CONTEXT_FLAG:
        raise UnknownContextError("Security context not found")
    rest = value[1 + length :]
    if not flags & _KID_FLAG:
        if rest:
            raise DecodeError("Failed to decode COSE")
        return value[1 : 1 + length], None
    return value[1 : 1 + length], rest


def find_option(plaintext: bytes, wanted: int) -> bytes | None:
    """Value of the first inner option with this number.

    Raises:
        DecodeError: The plaintext is no CoAP message without its header.
    """
    number, at, found = 0, 1, None
    while at < len(plaintext):
        head = plaintext[at]
        at += 1
        if head == _MARKER:
            if at == len(plaintext):
                raise DecodeError("payload marker without payload")
            break
        delta, at = _extended(plaintext, at, head >> 4)
        length, at = _extended(plaintext, at, head & 15)
        number += delta
        if at + length > len(plaintext):
            raise DecodeError("option cut off")
        if number == wanted and found is None:
            found = plaintext[at : at + length]
        at += length
    return found


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble < _ONE_MORE:
        return nibble, at
    if nibble == _ONE_MORE and at < len(data):
        return data[at] + _ONE_MORE, at + 1
    if nibble == _TWO_MORE and at + 1 < len(data):
        return (data[at] << 8 | data[at + 1]) + _BASE_OF_TWO, at + 2
    raise DecodeError("option header malformed")


def echo_plaintext(code: int, echo: bytes) -> bytes:
    """A message of a code and an Echo option alone."""
    return bytes([code, _ONE_MORE << 4 | len(echo), ECHO - _ONE_MORE]) + echo


class SecurityContext:
    """Everything that the gateway shares with one node and remembers about it.

    Args:
        credential: The keys.
        numbers: Our sender sequence numbers for exactly these keys.
    """

    def __init__(self, credential: Credential, numbers: Numbers) -> None:
        self.credential = credential
        self.numbers = numbers
        self.window = ReplayWindow()
        self.echo = secrets.token_bytes(ECHO_BYTES)
        self._sender = AESCCM(_derive(credential, credential.gateway_id, b"Key", KEY_BYTES), TAG_BYTES)
        self._recipient = AESCCM(_derive(credential, credential.node_id, b"Key", KEY_BYTES), TAG_BYTES)
        self._iv = int.from_bytes(_derive(credential, b"", b"IV", NONCE_BYTES), "big")

    @property
    def node(self) -> str:
        """The node that has the other half."""
        return self.credential.node

    def _nonce(self, piv_id: bytes, piv: bytes) -> bytes:
        """RFC 8613 5.2."""
        padded = bytes([len(piv_id)]) + piv_id.rjust(MAX_ID_BYTES, b"\0") + piv.rjust(MAX_PIV_BYTES, b"\0")
        return (self._iv ^ int.from_bytes(padded, "big")).to_bytes(NONCE_BYTES, "big")

    def unprotect_request(self, option: bytes, ciphertext: bytes) -> tuple[bytes, Binding]:
        """(plaintext, binding for the responses) of a node's request.

        Raises:
            EchoRequired: Authentic; answer with `challenge`.
            OscoreError: Answer with its code, or not at all.
        """
        plaintext, binding = self.open_request(option, ciphertext)
        if self.window.usable:
            self.accept(binding)
        elif find_option(plaintext, ECHO) == self.echo:
            self.window.restart(int.from_bytes(binding.piv, "big"))
        else:
            binding.nonce_free = False
            raise EchoRequired(binding)
        return plaintext, binding

    def open_request(self, option: bytes, ciphertext: bytes) -> tuple[bytes, Binding]:
        """As `unprotect_request`, but the request does not count as received yet: only `accept` makes a second one a replay.

        Raises:
            OscoreError: Answer with its code, or not at all.
        """
        piv, kid = decode_option(option)
        if not piv or kid is None:
            raise DecodeError("Failed to decode COSE")
        if self.window.usable and not self.window.is_new(int.from_bytes(piv, "big")):
            raise ReplayError("Replay detected")
        return self._open(kid, piv, kid, piv, ciphertext), Binding(kid, piv, nonce_free=True)

    def accept(self, binding: Binding) -> None:
        """Count an opened request as received; the window is usable."""
        self.window.accept(int.from_bytes(binding.piv, "big"))

    def protect_response(self, binding: Binding, plaintext: bytes) -> tuple[bytes, bytes]:
        """(option value, ciphertext): the first response has the request's nonce, each further one a number of ours.

        Raises:
            StorageUnavailable: No number is safe to use at this moment.
        """
        kid = self.credential.gateway_id
        if binding.nonce_free:
            binding.nonce_free = False
            nonce, option = self._nonce(binding.kid, binding.piv), b""
        else:
            own = encode_piv(self.numbers.take())
            nonce, option = self._nonce(kid, own), encode_option(own)
        return option, self._sender.encrypt(nonce, plaintext, _aad(binding.kid, binding.piv))

    def challenge(self, required: EchoRequired) -> tuple[bytes, bytes]:
        """(option value, ciphertext) of the 4.01 with Echo (RFC 8613 B.1.2)."""
        return self.protect_response(required.binding, echo_plaintext(UNAUTHORIZED, self.echo))

    def protect_request(self, plaintext: bytes) -> tuple[bytes, bytes, Binding]:
        """(option value, ciphertext, binding) of a request to the node. One that is sent anew is protected anew.

        Raises:
            StorageUnavailable: No number is safe to use at this moment.
        """
        kid, piv = self.credential.gateway_id, encode_piv(self.numbers.take())
        ciphertext = self._sender.encrypt(self._nonce(kid, piv), plaintext, _aad(kid, piv))
        return encode_option(piv, kid), ciphertext, Binding(kid, piv, nonce_free=True)

    def unprotect_response(self, binding: Binding, option: bytes, ciphertext: bytes) -> bytes:
        """Plaintext of the node's answer to our request.

        Raises:
            OscoreError: To be ignored (RFC 8613 8.4 step 8).
        """
        piv, kid = decode_option(option)
        if kid not in (None, self.credential.node_id):
            raise UnknownContextError("the response names another sender")
        piv_id = self.credential.node_id if piv else binding.kid
        return self._open(piv_id, piv or binding.piv, binding.kid, binding.piv, ciphertext)

    def _open(self, piv_id: bytes, piv: bytes, request_kid: bytes, request_piv: bytes, ciphertext: bytes) -> bytes:
        if len(ciphertext) <= TAG_BYTES:
            raise DecryptionError("Decryption failed")
        try:
            plaintext = self._recipient.decrypt(self._nonce(piv_id, piv), ciphertext, _aad(request_kid, request_piv))
        except (InvalidTag, ValueError, OverflowError):
            raise DecryptionError("Decryption failed") from None
        find_option(plaintext, 0)  # walks all options: malformed ones are refused before anybody acts
        return plaintext
