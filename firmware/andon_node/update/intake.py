"""Takes a bundle in pieces: head first, checked before anything else is written, then the files into their place."""

import os

from micropython import const

from andon_base import slots
from andon_node.update.manifest import APP, PREFIX, Manifest, UpdateError, check_signature, manifest_length

_HEAD = const("update.head")


def _target(kind):
    if kind == APP:
        from andon_node.update.slot_target import SlotTarget

        return SlotTarget(slots.spare())
    from andon_node.update.partition_target import PartitionTarget

    return PartitionTarget()


class Intake:
    """One bundle on its way to the flash.

    Attributes:
        offset: The next byte of the bundle that is wanted.
        total: Bytes of the bundle, None until the head is there.
    """

    def __init__(self, public_key, running, wanted):
        """Take the site's key (32 bytes), the version that runs and the version that was asked for, as tuples."""
        self._key = public_key
        self._running = running
        self._wanted = wanted
        self._target = None
        self.offset = 0
        self.total = None

    async def resume(self):
        """Go on from what a power cut left on the flash.

        Raises:
            UpdateError: What is there will never run here.
        """
        try:
            self.offset = os.stat(_HEAD)[6]
        except OSError:
            self.offset = 0
        if self.offset >= PREFIX and self._head_wants() <= 0:
            await self._open()

    def _head_wants(self):
        """How many bytes of the head are missing."""
        if self.offset < PREFIX:
            return PREFIX - self.offset
        with open(_HEAD, "rb") as file:
            return PREFIX + manifest_length(file.read(PREFIX)) - self.offset

    async def take(self, data):
        """Take bytes from `offset` on, as many as fit to what comes next; `offset` then says what is wanted.

        Raises:
            UpdateError: This bundle must not or cannot run here.
        """
        if self._target is not None:
            self._target.write(data)
            self.offset += len(data)
            return
        piece = data[: self._head_wants()]
        with open(_HEAD, "ab") as file:
            file.write(piece)
        self.offset += len(piece)
        if self.offset >= PREFIX and self._head_wants() == 0:
            await self._open()

    async def _open(self):
        await check_signature(_HEAD, self._key)
        manifest = Manifest(_HEAD)
        if manifest.version != self._wanted:
            raise UpdateError("version: the bundle is %s" % ".".join([str(part) for part in manifest.version]))
        manifest.check_fits(self._running)
        target = _target(manifest.kind)
        self.total = manifest.head_size + manifest.size
        self.offset = manifest.head_size + await target.begin(manifest)
        self._target = target

    async def finish(self):
        """Check the whole once more and let it start on trial next time.

        Raises:
            UpdateError: Something is missing or wrong.
        """
        if self._target is None or self.offset != self.total:
            raise UpdateError("cut off after %d bytes" % self.offset)
        await self._target.finish()
        self._target.activate()
        forget_head()

    def close(self):
        """Stop; what is on the flash stays for the next try."""
        if self._target is not None:
            self._target.close()

    def abandon(self):
        """Throw away what is on the flash."""
        if self._target is not None:
            self._target.abandon()
        forget_head()


def forget_head():
    """Remove the head of a bundle that is done with."""
    try:
        os.remove(_HEAD)
    except OSError:
        pass
