"""What can be said about a configuration without its node: whose it is, its revision, its signature. Pure.

All other rules stand in the firmware alone, which checks every document whole (docs/protocol.md, `PUT /config`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_DOCUMENT_BYTES: Final = 8192
"""What a node takes in blocks (docs/protocol.md, CoAP at the node)."""
MAX_REVISION: Final = 1 << 29
_SIGNED: Final = b"andon config\n"
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)


class DocumentError(Exception):
    """No node could take it; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What a checked document is.

    Attributes:
        revision: Of the configuration; the node takes only a greater one than its own.
        sha256: Of the bytes, hexadecimal.
        size: Bytes.
    """

    revision: int
    sha256: str
    size: int


def read_document(data: bytes, node: str, signature: str | None, site_key: str | None) -> DocumentInfo:
    """Check a document for a node.

    Args:
        data: JSON, as it will be sent.
        node: For which node.
        signature: Ed25519 by the site's key, 128 hexadecimal digits, or None.
        site_key: The site's public key, 64 hexadecimal digits; None: the signature is left to the node.

    Raises:
        DocumentError: Says what was expected.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DocumentError("body: expected a configuration as a JSON object")
    if document.get("node") != node:
        raise DocumentError(f"node: expected {node}, for which this is; another name needs other keys")
    revision = document.get("revision")
    if type(revision) is not int or not 1 <= revision <= MAX_REVISION:
        raise DocumentError(f"revision: expected a whole number from 1 to {MAX_REVISION}, more than what the node runs")
    if signature is not None:
        _check_signature(data, signature, site_key)
    return DocumentInfo(revision, hashlib.sha256(data).hexdigest(), len(data))


def without_secret(data: bytes) -> bytes:
    """The document for people's eyes: without the Wi-Fi password, as the node itself shows it."""
    document = json.loads(data)
    wifi = document.get("wifi")
    if isinstance(wifi, dict):
        wifi.pop("password", None)
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _check_signature(data: bytes, signature: str, site_key: str | None) -> None:
    if not _SIGNATURE.fullmatch(signature):
        raise DocumentError("sig: expected 128 hexadecimal digits, as andon node config sign prints them")
    if site_key is None:
        return
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(site_key)).verify(bytes.fromhex(signature), _SIGNED + data)
    except InvalidSignature:
        raise DocumentError(
            "sig: not the site's signature of exactly these bytes, so the node would refuse it"
        ) from None
