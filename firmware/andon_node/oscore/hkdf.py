"""HMAC-SHA-256 (RFC 2104) and HKDF (RFC 5869). Runs once per key, so it is written to be read."""

from hashlib import sha256

from micropython import const

_HASH_BYTES = const(32)
_BLOCK_BYTES = const(64)


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 of the parts, one behind the other: 32 bytes."""
    if len(key) > _BLOCK_BYTES:
        key = sha256(key).digest()
    padded = key + bytes(_BLOCK_BYTES - len(key))
    inner = sha256(bytes([b ^ 0x36 for b in padded]))
    for part in parts:
        inner.update(part)
    outer = sha256(bytes([b ^ 0x5C for b in padded]))
    outer.update(inner.digest())
    digest: bytes = outer.digest()
    return digest


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 2.2): the pseudorandom key. An empty salt stands for 32 zero bytes."""
    return hmac_sha256(salt, secret)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869 2.3): `length` bytes, at most 8,160."""
    if length > 255 * _HASH_BYTES:
        raise ValueError("HKDF-SHA-256 gives at most 8160 bytes")
    block = b""
    result = b""
    count = 0
    while len(result) < length:
        count += 1
        block = hmac_sha256(key, block, info, bytes([count]))
        result += block
    return result[:length]
