"""The other firmware partition of an ESP32 as the place of a whole image (kind `image`).

The chip's bootloader does what `andon_base.slots` does for applications: it starts an image that was not marked valid only
once, then goes back to the one before.
"""

import asyncio
import hashlib
import os

from micropython import const

from andon_node import flash
from andon_node.update import image_trial
from andon_node.update.manifest import UpdateError

_BLOCK = const(4096)
# Identity of the bundle and number of whole blocks that are written.
_PROGRESS = const("image_progress.txt")


class PartitionTarget:
    """Writes an image into the partition that is not running."""

    def __init__(self):
        from esp32 import Partition

        self._partition = Partition(Partition.RUNNING).get_next_update()  # type: ignore[arg-type]  # the stubs know labels only
        self._buffer = bytearray(_BLOCK)

    async def begin(self, manifest):
        """Return how many bytes are there already.

        Raises:
            UpdateError: It is not one image, or larger than the partition.
        """
        files = list(manifest.files())
        if len(files) != 1:
            raise UpdateError("manifest: expected one image")
        _, self._size, self._digest = files[0]
        if self._size > self._partition.info()[3]:
            raise UpdateError("image: larger than its partition")
        self._manifest = manifest
        self._block = self._noted()
        self._filled = 0
        return min(self._block * _BLOCK, self._size)

    def _noted(self):
        try:
            with open(_PROGRESS) as file:
                identity, blocks = file.read().split()
            return int(blocks) if identity == self._manifest.identity else 0
        except (OSError, ValueError):
            return 0

    def write(self, data):
        """Take the next bytes; whole blocks go to the partition.

        Raises:
            UpdateError: More than the manifest says.
        """
        if self._block * _BLOCK + self._filled + len(data) > self._size:
            raise UpdateError("longer than its manifest says")
        while len(data):
            piece = data[: _BLOCK - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            data = data[len(piece) :]
            if self._filled == _BLOCK:
                self._flush()
        if self._filled and self._block * _BLOCK + self._filled == self._size:
            for at in range(self._filled, _BLOCK):
                self._buffer[at] = 0xFF
            self._flush()

    def _flush(self):
        self._partition.writeblocks(self._block, self._buffer)
        self._block += 1
        self._filled = 0
        flash.write_atomically(_PROGRESS, "%s %d" % (self._manifest.identity, self._block))

    async def finish(self):
        """Read the image back and check it.

        Raises:
            UpdateError: It is not what the manifest says.
        """
        digest = hashlib.sha256()
        left = self._size
        block = 0
        while left > 0:
            self._partition.readblocks(block, self._buffer)
            digest.update(memoryview(self._buffer)[: min(left, _BLOCK)])
            left -= _BLOCK
            block += 1
            await asyncio.sleep_ms(0)
        self.abandon()
        if digest.digest() != self._digest:
            raise UpdateError("image: not in the partition as it was sent")

    def activate(self):
        """Let the bootloader start it next, on trial."""
        self._partition.set_boot()
        image_trial.begin(self._partition.info()[4])

    def confirm(self):
        """It works: keep it."""
        image_trial.confirm()

    def close(self):
        """Nothing is held open; what was noted stays for the next try."""

    def abandon(self):
        """Forget the progress."""
        try:
            os.remove(_PROGRESS)
        except OSError:
            pass
