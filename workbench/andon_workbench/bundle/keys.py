"""The site's signing key: made once, kept off the nodes; nodes have its public half."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from andon_workbench.bundle.format import Bundle, BundleError

if TYPE_CHECKING:
    from pathlib import Path


def make_key(path: Path) -> str:
    """Make a private key in a new file that only its owner can read (PEM, PKCS 8); return the public half in hexadecimal.

    Raises:
        BundleError: the file exists or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BundleError(f"{path}: exists; a new key would lock out the nodes that trust the old one") from None
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return public_half(key)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        BundleError: it is not there, readable by others, or no Ed25519 key.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise BundleError(f"{path}: others can read it; make it yours alone: chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; make a key with: andon firmware keygen {path}") from None
    except ValueError:
        raise BundleError(f"{path}: expected a PEM file made by `andon firmware keygen`") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path}: expected an Ed25519 key")
    return key


def public_half(key: Ed25519PrivateKey) -> str:
    """The public half as it stands on nodes (`site_key.hex`): 64 hexadecimal digits."""
    return key.public_key().public_bytes_raw().hex()


def sign(bundle: Bundle, key: Ed25519PrivateKey) -> Bundle:
    """The bundle with the signature of its manifest (RFC 8032)."""
    return replace(bundle, signature=key.sign(bundle.manifest()))


def is_signed_by(bundle: Bundle, public_key: str) -> bool:
    """Whether a bundle was signed with the private half of a public key given in hexadecimal."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bundle.signature, bundle.manifest())
    except (InvalidSignature, ValueError):
        return False
    return True
