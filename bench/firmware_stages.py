"""Time per pack and stage on the MicroPython VM: encode, protect, journal (see bench/firmware.py). Prints one JSON line."""

# ruff: noqa: ANN001, ANN002, UP031, ANN201, ANN202, ANN204, PTH123, SIM115, PLR2004 - MicroPython's, as the rules for firmware/ say

import gc
import json
import os
import sys
import time

import vfs
from andon_node.clock import Clock
from andon_node.coap import message as coap
from andon_node.journal import Journal
from andon_node.oscore import message as oscore
from andon_node.oscore.context import SecurityContext
from andon_node.oscore.sequence import SenderSequence
from andon_node.outbox import Outbox
from andon_node.pack import Recorder

_BLOCK = 4096
_BLOCKS = 128
_PACKS = 200
_READINGS = 8
_POST_T = [(coap.URI_PATH, b"t"), (coap.CONTENT_FORMAT, b"\x70")]


class Image:
    """NOR flash in a file."""

    def __init__(self, path):
        self._file = open(path, "w+b")
        for _ in range(_BLOCKS):
            self._file.write(b"\xff" * _BLOCK)

    def readblocks(self, block, buffer, offset=0):
        """Read."""
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        """Program."""
        self._file.seek(block * _BLOCK + offset)
        self._file.write(buffer)

    def ioctl(self, operation, argument):
        """Answer littlefs."""
        if operation == 6:
            self._file.seek(argument * _BLOCK)
            self._file.write(b"\xff" * _BLOCK)
        return {4: _BLOCKS, 5: _BLOCK}.get(operation, 0)


class RamSequence:
    """Stands in for the flash, which is written once in 1,024 messages."""

    def load(self):
        """Begin at 0."""
        return 0

    def reserve(self, upto):
        """Nothing to store."""


class NoOutbox:
    """Keeps the pack for the stages after encoding."""

    def __init__(self):
        self.last = None

    def __len__(self):
        return 0

    def save(self, pack, *_rest):
        """See Outbox."""
        self.last = pack

    def append(self, pack):
        """See Outbox."""
        self.last = pack


def per_pack(work):
    """Microseconds per call of `work`, garbage collection included."""
    gc.collect()
    began = time.ticks_us()
    for _ in range(_PACKS):
        work()
    return time.ticks_diff(time.ticks_us(), began) // _PACKS


def encoder(outbox):
    """Return a function that makes one pack of some readings and hands it to an outbox."""
    recorder = Recorder("press-7", 1, Clock(), outbox)
    names = ["temperature/%d" % channel for channel in range(_READINGS)]

    def encode():
        for name in names:
            recorder.record(name, "Cel", 41.1875)
        recorder.flush()

    return encode


def main():
    """Measure and print."""
    image = Image("bench-flash.img")
    vfs.VfsLfs2.mkfs(image)
    vfs.mount(vfs.VfsLfs2(image), "/bench")
    kept = NoOutbox()
    encode_us = per_pack(encoder(kept))
    pack = bytes(kept.last.data)
    context = SecurityContext(bytes(16), b"\x01", b"\x02", SenderSequence(RamSequence()), fresh=True)
    protect_us = per_pack(lambda: oscore.protect_request(context, coap.POST, _POST_T, pack))
    journal_us = per_pack(encoder(Outbox(Journal("/bench/journal", 65536)))) - encode_us
    sys.stdout.write(
        json.dumps(
            {
                "pack_bytes": len(pack),
                "readings": _READINGS,
                "encode_us": encode_us,
                "protect_us": protect_us,
                "journal_us": journal_us,
            }
        )
        + "\n"
    )
    os.chdir("/")


main()
