"""Keys and Common IV of a security context (RFC 8613 3.2.1). Runs once per start."""

from micropython import const

from .aes_ccm import KEY_BYTES, NONCE_BYTES
from .hkdf import expand, extract

_ALG_AEAD = const(10)  # AES-CCM-16-64-128
_SHORT_BSTR = const(24)  # from here on CBOR needs a length byte


def _bstr(value: bytes) -> bytes:
    """A CBOR byte string (RFC 8949 3.1, major type 2) of up to 255 bytes."""
    return bytes([0x40 | len(value)] if len(value) < _SHORT_BSTR else [0x58, len(value)]) + value


def _info(role_id: bytes, id_context: "bytes | None", kind: str, length: int) -> bytes:
    """The CBOR array `info` of RFC 8613 3.2.1."""
    name = kind.encode()
    context = b"\xf6" if id_context is None else _bstr(id_context)
    return b"\x85" + _bstr(role_id) + context + bytes([_ALG_AEAD, 0x60 | len(name)]) + name + bytes([length])


def derive(
    master_secret: bytes, master_salt: bytes, id_context: "bytes | None", sender_id: bytes, recipient_id: bytes
) -> "tuple[bytes, bytes, bytes]":
    """Derive (sender key, recipient key, Common IV) with HKDF-SHA-256 (RFC 8613 3.2.1)."""
    key = extract(master_salt, master_secret)
    return (
        expand(key, _info(sender_id, id_context, "Key", KEY_BYTES), KEY_BYTES),
        expand(key, _info(recipient_id, id_context, "Key", KEY_BYTES), KEY_BYTES),
        expand(key, _info(b"", id_context, "IV", NONCE_BYTES), NONCE_BYTES),
    )
