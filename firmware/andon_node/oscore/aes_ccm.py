"""AES-CCM-16-64-128 (RFC 3610 with M = 8, L = 2; COSE algorithm 10) on the port's AES-ECB.

Works in place in the caller's buffer and allocates nothing that grows with the message. The three block buffers are
shared by all keys: nothing here awaits, so one message is finished before the next begins; not for threads or interrupts.
"""

from cryptolib import aes
from micropython import const

from .errors import DecryptionError, NotProtectableError

KEY_BYTES = const(16)
NONCE_BYTES = const(13)
TAG_BYTES = const(8)

_MODE_ECB = const(1)
_BLOCK = const(16)
_MAX_LENGTH = const(0xFFFF)  # L = 2: the length field has two bytes
_MAX_AAD = const(0xFEFF)  # longer ones need another length encoding (RFC 3610 2.2)

_mac = bytearray(_BLOCK)
_counter = bytearray(_BLOCK)
_keystream = bytearray(_BLOCK)


class AesCcm:
    """One key's cipher.

    Args:
        key: 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("an AES-CCM-16-64-128 key has 16 bytes")
        self._aes = aes(key, _MODE_ECB)

    def seal(self, nonce: bytearray, aad: bytearray, aad_length: int, text: bytearray, length: int) -> None:
        """Encrypt the first `length` bytes of `text` in place and put the tag behind them.

        Args:
            nonce: 13 bytes, never used before with this key.
            aad: Buffer that starts with the additional authenticated data.
            aad_length: Its length in bytes.
            text: Buffer of at least `length + 8` bytes.
            length: Length of the plaintext in bytes, up to 65,535.

        Raises:
            NotProtectableError: The message or its AAD is too long for CCM with L = 2.
        """
        if length > _MAX_LENGTH or aad_length > _MAX_AAD or length + TAG_BYTES > len(text):
            raise NotProtectableError("the message is too long to encrypt")
        self._start(nonce, aad, aad_length, length)
        self._run(text, length, decrypt=False)
        for i in range(TAG_BYTES):
            text[length + i] = _mac[i] ^ _keystream[i]

    def open(self, nonce: bytearray, aad: bytearray, aad_length: int, text: bytearray, length: int) -> int:
        """Verify and decrypt the first `length` bytes of `text` (ciphertext and tag) in place.

        Returns:
            Length of the plaintext in bytes.

        Raises:
            DecryptionError: The tag is wrong; what was decrypted has been overwritten with zeros.
        """
        length -= TAG_BYTES
        if length < 0 or length > _MAX_LENGTH or aad_length > _MAX_AAD:
            raise DecryptionError("the ciphertext's length is impossible")
        self._start(nonce, aad, aad_length, length)
        self._run(text, length, decrypt=True)
        different = 0  # no early exit: the time must not tell how many bytes of a forged tag are right
        for i in range(TAG_BYTES):
            different |= text[length + i] ^ _mac[i] ^ _keystream[i]
        if different:
            for i in range(length):
                text[i] = 0
            raise DecryptionError("the tag does not match: wrong key, or the message was changed")
        return length

    def _start(self, nonce: bytearray, aad: bytearray, aad_length: int, length: int) -> None:
        """Put the MAC over B_0 and the AAD (RFC 3610 2.2) into `_mac`, and the counter before A_1 into `_counter`."""
        mac = _mac
        mac[0] = 0x59 if aad_length else 0x19  # Adata, M' = (8 - 2) / 2, L' = 2 - 1
        mac[1:14] = nonce
        mac[14] = length >> 8
        mac[15] = length & 0xFF
        _counter[0] = 1
        _counter[1:14] = nonce
        _counter[14] = 0
        _counter[15] = 0
        encrypt = self._aes.encrypt
        encrypt(mac, mac)
        if not aad_length:
            return
        mac[0] ^= aad_length >> 8
        mac[1] ^= aad_length & 0xFF
        at = 2
        for i in range(aad_length):
            if at == _BLOCK:
                encrypt(mac, mac)
                at = 0
            mac[at] ^= aad[i]
            at += 1
        encrypt(mac, mac)

    def _run(self, text: bytearray, length: int, *, decrypt: bool) -> None:
        """CBC-MAC and CTR in one pass; leaves S_0, which masks the tag, in `_keystream`."""
        mac, counter, keystream = _mac, _counter, _keystream
        encrypt = self._aes.encrypt
        start = 0
        block = 0
        while start < length:
            block += 1
            counter[14] = block >> 8
            counter[15] = block & 0xFF
            encrypt(counter, keystream)
            size = min(length - start, _BLOCK)
            if decrypt:
                for i in range(size):
                    plain = text[start + i] ^ keystream[i]
                    text[start + i] = plain
                    mac[i] ^= plain
            else:
                for i in range(size):
                    plain = text[start + i]
                    text[start + i] = plain ^ keystream[i]
                    mac[i] ^= plain
            encrypt(mac, mac)
            start += _BLOCK
        counter[14] = 0
        counter[15] = 0
        encrypt(counter, keystream)
