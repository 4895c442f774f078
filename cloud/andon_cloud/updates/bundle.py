"""Reads a firmware bundle's head and checks the whole of it (docs/protocol.md, "The bundle"). Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC: Final = b"ANDONFW1"
SIGNATURE_BYTES: Final = 64
PREFIX_BYTES: Final = len(MAGIC) + 2 + SIGNATURE_BYTES
MAX_MANIFEST_BYTES: Final = 16_384
MAX_BUNDLE_BYTES: Final = 8 << 20
"""Two OTA partitions of a 16 MB board are smaller."""
KINDS: Final = ("app", "image")
_VERSION: Final = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)
_FILE: Final = re.compile(r"([A-Za-z0-9_./]{1,100}) ([1-9]\d{0,8}) ([0-9a-f]{64})", re.ASCII)


class BundleError(Exception):
    """Not a bundle that a node could take; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What a checked bundle is.

    Attributes:
        version: Three numbers such as `1.2.0`.
        kind: `app` or `image`.
        mpy: Format of its `.mpy` files, `-` for an image.
        arch: Native architecture, or `any`.
        downgrade: Whether nodes may go from a newer version to it.
        sha256: Of the whole file, hexadecimal.
        size: Of the whole file, bytes.
    """

    version: str
    kind: str
    mpy: str
    arch: str
    downgrade: bool
    sha256: str
    size: int


def read_bundle(data: bytes, site_key: str | None) -> BundleInfo:
    """Check sizes, digests and signature.

    Args:
        data: The file.
        site_key: The site's public Ed25519 key, 64 hexadecimal digits; None: only unsigned bundles are refused.

    Raises:
        BundleError: Says what is wrong.
    """
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 2], "big")
    if data[: len(MAGIC)] != MAGIC or not 0 < length <= MAX_MANIFEST_BYTES or len(data) < PREFIX_BYTES + length:
        raise BundleError("no bundle: expected a file made by `andon firmware build`")
    manifest = data[PREFIX_BYTES : PREFIX_BYTES + length]
    _check_signature(data[len(MAGIC) + 2 : PREFIX_BYTES], manifest, site_key)
    fields = _fields_and_files(manifest, data[PREFIX_BYTES + length :])
    try:
        info = BundleInfo(
            version=fields["version"],
            kind=fields["kind"],
            mpy=fields["mpy"][:16],
            arch=fields["arch"][:32],
            downgrade=fields["downgrade"] == "yes",
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
        )
    except KeyError as error:
        raise BundleError(f"manifest: there is no {error.args[0]}") from None
    if not _VERSION.fullmatch(info.version) or info.kind not in KINDS:
        raise BundleError("manifest: expected a version such as 1.2.0 and the kind app or image")
    return info


def _check_signature(signature: bytes, manifest: bytes, site_key: str | None) -> None:
    if not any(signature):
        raise BundleError("not signed: sign it with `andon firmware sign`")
    if site_key is None:
        return
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(site_key)).verify(signature, manifest)
    except InvalidSignature:
        raise BundleError("signature: not made with this site's key, so no node of the site would take it") from None


def _fields_and_files(manifest: bytes, content: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    at = 0
    try:
        lines = manifest.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise BundleError("manifest: expected ASCII") from None
    for line in lines:
        key, _, value = line.partition(" ")
        if key != "file":
            fields[key] = value
            continue
        found = _FILE.fullmatch(value)
        if found is None:
            raise BundleError(f"manifest: cannot be read: {line[:80]}")
        name, size, digest = found[1], int(found[2]), found[3]
        if hashlib.sha256(content[at : at + size]).hexdigest() != digest:
            raise BundleError(f"{name}: cut off or changed, its SHA-256 differs from the manifest")
        at += size
    if at == 0 or at != len(content):
        raise BundleError(f"{len(content)} bytes of files: the manifest names {at}")
    return fields
