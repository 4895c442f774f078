"""The security context (RFC 8613 3): keys and Common IV derived once, nonces, sequence numbers, replay window."""

import os

from micropython import const

from .aes_ccm import NONCE_BYTES, AesCcm
from .replay import ReplayWindow
from .sequence import SenderSequence

TYPE_CHECKING = False  # no typing module on the board; type checkers take this name for True
if TYPE_CHECKING:
    from typing import Callable

MAX_ID_BYTES = const(7)  # nonce length minus 6 (RFC 8613 3.3)
_MAX_PIV_BYTES = const(5)
_ALG_AEAD = const(10)  # AES-CCM-16-64-128
_ECHO_BYTES = const(8)
_MAX_ID_CONTEXT_BYTES = const(255)  # the option has one byte for its length (RFC 8613 6.1)
_AAD_BYTES = const(31)
# ["Encrypt0", h'', external_aad], and external_aad = [1, [10], kid, piv, h''] up to the kid (RFC 8613 5.4)
_AAD_HEAD = const(b"\x83\x68Encrypt0\x40")
_AAD_ARRAY = b"\x85\x01\x81" + bytes([_ALG_AEAD])


def encode_piv(number: int) -> bytes:
    """A Partial IV: big-endian without leading zeros, but at least one byte (RFC 8613 5)."""
    length = 1
    while number >> 8 * length:
        length += 1
    return number.to_bytes(length, "big")


class SecurityContext:
    """Everything that one pair of endpoints shares and remembers. One object per peer.

    Args:
        master_secret: At least 16 random bytes.
        sender_id: Our id, at most 7 bytes.
        recipient_id: The peer's id, at most 7 bytes, different from ours.
        sequence: The sender sequence numbers of exactly these keys.
        master_salt: Optional salt.
        id_context: At most 255 bytes; sent as kid context with each request when not None.
        fresh: True only if these keys were never used before; otherwise requests are answered with an Echo challenge
            until the peer has proven one fresh.
        random: Source of unpredictable bytes.

    Raises:
        ValueError: An id is too long, or both are the same.
    """

    def __init__(
        self,
        master_secret: bytes,
        sender_id: bytes,
        recipient_id: bytes,
        sequence: SenderSequence,
        master_salt: bytes = b"",
        id_context: "bytes | None" = None,
        *,
        fresh: bool = False,
        random: "Callable[[int], bytes]" = os.urandom,
    ) -> None:
        if len(sender_id) > MAX_ID_BYTES or len(recipient_id) > MAX_ID_BYTES:
            raise ValueError("sender and recipient ids have at most 7 bytes")
        if sender_id == recipient_id:
            raise ValueError("sender and recipient need different ids")
        if id_context is not None and len(id_context) > _MAX_ID_CONTEXT_BYTES:
            raise ValueError("an id context has at most 255 bytes here")
        # Needed this once.
        from .derivation import derive

        sender_key, recipient_key, self._common_iv = derive(
            master_secret, master_salt, id_context, sender_id, recipient_id
        )
        self.sender_id = sender_id
        self.recipient_id = recipient_id
        self.id_context = id_context
        self.sender = AesCcm(sender_key)
        self.recipient = AesCcm(recipient_key)
        self.sequence = sequence
        self.window = ReplayWindow(fresh=fresh)
        self.echo = random(_ECHO_BYTES)
        self._nonce = bytearray(NONCE_BYTES)
        self.aad = bytearray(_AAD_BYTES)
        self.aad[: len(_AAD_HEAD)] = _AAD_HEAD

    def nonce(self, piv_id: bytes, piv: bytes) -> bytearray:
        """The AEAD nonce (RFC 8613 5.2), in a buffer that the next call overwrites.

        Args:
            piv_id: Sender id of the endpoint that made the Partial IV.
            piv: The Partial IV, 1 to 5 bytes.
        """
        nonce = self._nonce
        nonce[:] = self._common_iv
        nonce[0] ^= len(piv_id)
        at = NONCE_BYTES - _MAX_PIV_BYTES - len(piv_id)
        for byte in piv_id:
            nonce[at] ^= byte
            at += 1
        at = NONCE_BYTES - len(piv)
        for byte in piv:
            nonce[at] ^= byte
            at += 1
        return nonce

    def fill_aad(self, request_kid: bytes, request_piv: bytes) -> int:
        """Write the AAD (RFC 8613 5.4) into `aad` and return its length in bytes."""
        aad = self.aad
        at = len(_AAD_HEAD)
        kid, piv = len(request_kid), len(request_piv)
        aad[at] = 0x40 | (kid + piv + 7)  # external_aad is wrapped in a byte string
        at += 1
        aad[at : at + 4] = _AAD_ARRAY
        aad[at + 4] = 0x40 | kid
        at += 5
        aad[at : at + kid] = request_kid
        at += kid
        aad[at] = 0x40 | piv
        at += 1
        aad[at : at + piv] = request_piv
        at += piv
        aad[at] = 0x40  # no Class I options exist
        return at + 1
