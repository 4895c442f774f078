"""The bundle's bytes: prefix, manifest, files. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from andon_workbench.errors import WorkbenchError

MAGIC: Final = b"ANDONFW1"
SIGNATURE_BYTES: Final = 64
PREFIX_BYTES: Final = len(MAGIC) + 2 + SIGNATURE_BYTES
MAX_MANIFEST_BYTES: Final = 16384
UNSIGNED: Final = bytes(SIGNATURE_BYTES)
BASE_API: Final = 2
"""Version of the board's base files (`andon_base.API`) that bundles built here need."""

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9_]+(?:[./][A-Za-z0-9_]+)*", re.ASCII)


class BundleError(WorkbenchError):
    """A bundle cannot be built, signed or read; the message says why."""


class Kind(StrEnum):
    """What a bundle holds: the application's files for a slot, or a whole image for a partition."""

    APP = "app"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle.

    Attributes:
        version: Three numbers such as `1.2.0`.
        files: Content by name, in the order of their bytes.
        kind: What the files are.
        mpy: Version of the `.mpy` format that the files are in (`-` for an image).
        arch: Native architecture of the files, or `any` for bytecode.
        downgrade: Whether a node may go from a newer version to this one.
        signature: Ed25519 signature of the manifest; zeros while unsigned.
    """

    version: str
    files: dict[str, bytes]
    kind: Kind = Kind.APP
    mpy: str = "6"
    arch: str = "any"
    downgrade: bool = False
    signature: bytes = field(default=UNSIGNED)

    def manifest(self) -> bytes:
        """The text that is signed: one line per property, then one per file.

        Raises:
            BundleError: a version, a name or a file is not as nodes take them.
        """
        if not _VERSION.fullmatch(self.version):
            raise BundleError(f"version {self.version}: expected three numbers such as 1.2.0")
        lines = [
            f"kind {self.kind}",
            f"version {self.version}",
            f"mpy {self.mpy}",
            f"arch {self.arch}",
            f"base {BASE_API}",
            f"downgrade {'yes' if self.downgrade else 'no'}",
        ]
        for name, content in self.files.items():
            if not _FILE_NAME.fullmatch(name):
                raise BundleError(f"{name}: expected letters, digits, underscores and slashes in a file's name")
            if not content:
                raise BundleError(f"{name}: empty")
            lines.append(f"file {name} {len(content)} {hashlib.sha256(content).hexdigest()}")
        text = "".join(f"{line}\n" for line in lines).encode()
        if len(text) > MAX_MANIFEST_BYTES:
            raise BundleError(f"manifest of {len(text)} bytes: nodes take at most {MAX_MANIFEST_BYTES}")
        return text

    def encode(self) -> bytes:
        """The bundle as a file."""
        manifest = self.manifest()
        return b"".join([MAGIC, len(manifest).to_bytes(2, "big"), self.signature, manifest, *self.files.values()])


def decode(data: bytes) -> Bundle:
    """Read a bundle and check its sizes and digests, not its signature.

    Raises:
        BundleError: it is no bundle, cut off, or changed.
    """
    if data[: len(MAGIC)] != MAGIC or len(data) < PREFIX_BYTES:
        raise BundleError("no bundle: expected a file made by `andon firmware build`")
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 2], "big")
    text = data[PREFIX_BYTES : PREFIX_BYTES + length]
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    at = PREFIX_BYTES + length
    try:
        for line in text.decode("ascii").splitlines():
            key, _, value = line.partition(" ")
            if key != "file":
                fields[key] = value
                continue
            name, size, digest = value.split(" ")
            files[name] = data[at : at + int(size)]
            at += int(size)
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise BundleError(f"{name}: cut off or changed, its SHA-256 differs from the manifest")
        if at != len(data):
            raise BundleError(f"{len(data)} bytes: expected {at}")
        return Bundle(
            version=fields["version"],
            files=files,
            kind=Kind(fields["kind"]),
            mpy=fields["mpy"],
            arch=fields["arch"],
            downgrade=fields["downgrade"] == "yes",
            signature=data[PREFIX_BYTES - SIGNATURE_BYTES : PREFIX_BYTES],
        )
    except (KeyError, ValueError) as error:
        raise BundleError(f"manifest: not as this workbench knows it: {error}") from None
