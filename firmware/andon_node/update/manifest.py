"""The head of a bundle: magic, length, signature and manifest (docs/protocol.md, "The bundle")."""

import asyncio
import sys

from micropython import const

from andon_base import API
from andon_base.slots import parse_version
from andon_node.signature import is_good

MAGIC = b"ANDONFW1"
# Magic, length of the manifest (u16, big-endian), Ed25519 signature of the manifest.
PREFIX = 8 + 2 + 64
MAX_MANIFEST = 16384

APP = "app"
IMAGE = "image"

# What .mpy files of the running VM are like: sys.implementation._mpy holds the version and the native architecture.
_ARCHITECTURES = (
    "",
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)
_PIECE = const(512)


class UpdateError(Exception):
    """This bundle must not or cannot run here; the message says why."""


def manifest_length(prefix):
    """Length of the manifest that follows a prefix.

    Raises:
        UpdateError: This is no bundle.
    """
    length = int.from_bytes(prefix[8:10], "big")
    if bytes(prefix[:8]) != MAGIC or not 0 < length <= MAX_MANIFEST:
        raise UpdateError("no bundle: expected a file made by `andon firmware build`")
    return length


async def check_signature(path, public_key):
    """Check the signature of the head in a file, a piece at a time.

    Raises:
        UpdateError: It was not signed with the site's key.
    """
    with open(path, "rb") as file:
        signature = file.read(PREFIX)[10:]
        if not await is_good(public_key, signature, _pieces(file)):
            raise UpdateError("signature: not made with this site's key")


def _pieces(file):
    while True:
        piece = file.read(128)
        if not piece:
            return
        yield piece


class Manifest:
    """What a checked head says.

    Attributes:
        identity: The signature in hexadecimal; names this very bundle.
        kind: `app` or `image`.
        version: Three numbers.
        size: Bytes that follow the head.
        head_size: Bytes of the head.
        downgrade: Whether an older version than the running one is wanted.
    """

    def __init__(self, path):
        """Read it from a file that begins with the head.

        Raises:
            UpdateError: It is not as this firmware knows it.
        """
        self.path = path
        self.fields = {}
        self.size = 0
        self.head_size = PREFIX
        with open(path, "rb") as file:
            self.identity = file.read(PREFIX)[10:].hex()
            for line in file:
                self.head_size += len(line)
                key, _, value = line.decode().rstrip().partition(" ")
                if key == "file":
                    self.size += _parse_file(value)[1]
                else:
                    self.fields[key] = value
        try:
            self.version = parse_version(self.fields["version"])
            self.kind = self.fields["kind"]
            self.downgrade = self.fields["downgrade"] == "yes"
            self._base = int(self.fields["base"])
        except (KeyError, ValueError) as error:
            raise UpdateError("manifest: %r" % error)  # noqa: B904 - MicroPython keeps no cause

    def files(self):
        """Yield (name, size, SHA-256) of each file, in the order of their bytes."""
        with open(self.path, "rb") as file:
            file.seek(PREFIX)
            for line in file:
                if line.startswith(b"file "):
                    yield _parse_file(line.decode().rstrip()[5:])

    def check_fits(self, running):
        """Refuse what cannot run here.

        Args:
            running: Version that runs now.

        Raises:
            UpdateError: Says what does not fit.
        """
        if self.kind not in (APP, IMAGE):
            raise UpdateError("kind: expected app or image")
        if self._base > API:
            raise UpdateError("base: needs version %d of the base files, here is %d" % (self._base, API))
        abi = getattr(sys.implementation, "_mpy", 0)
        if self.kind == APP and self.fields.get("mpy") != str(abi & 0xFF):
            raise UpdateError("mpy: compiled for .mpy version %s, here is %d" % (self.fields.get("mpy"), abi & 0xFF))
        if self.fields.get("arch") not in ("any", _ARCHITECTURES[abi >> 10 & 15]):
            raise UpdateError("arch: made for " + self.fields.get("arch", "nothing"))
        if self.version <= running and not self.downgrade:
            raise UpdateError("version: %s is not newer than the running %s" % (text(self.version), text(running)))


def text(version):
    """A version as people write it."""
    return ".".join([str(number) for number in version])


def _parse_file(line):
    try:
        name, size, digest = line.split(" ")
        size, digest = int(size), bytes(int(digest[at : at + 2], 16) for at in range(0, 64, 2))
    except ValueError:
        raise UpdateError("manifest: file " + line)  # noqa: B904 - MicroPython keeps no cause
    for part in name.split("/"):
        if not part.strip(".") or size < 1:
            raise UpdateError("manifest: file " + line)
    return name, size, digest


async def hash_file(digest, path, size):
    """Feed the first bytes of a file to a digest, a piece at a time; return how many there were."""
    have = 0
    try:
        with open(path, "rb") as file:
            while have < size:
                piece = file.read(min(_PIECE, size - have))
                if not piece:
                    break
                digest.update(piece)
                have += len(piece)
                await asyncio.sleep_ms(0)
    except OSError:
        pass
    return have
