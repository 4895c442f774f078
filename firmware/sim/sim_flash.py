"""The flash chip that littlefs is on, as a file."""

from micropython import const

_BLOCK = const(4096)
_BLOCKS = const(512)
# No larger piece of ones is kept: it would lie in the node's heap.
_PIECE = const(512)


class FlashImage:
    """The flash chip as a file: blocks are erased to ones and programmed in place, so a kill is a power cut."""

    def __init__(self, path, host):
        self._erased = b"\xff" * _PIECE
        try:
            size = host.stat(path)[6]
        except OSError:
            size = 0
        # None yet, or its very first start was cut short.
        if size < _BLOCKS * _BLOCK:
            with host.open(path, "wb") as image:
                for _ in range(_BLOCKS * _BLOCK // _PIECE):
                    image.write(self._erased)
        self._file = host.open(path, "r+b")

    def readblocks(self, block, buffer, offset=0):
        """Read within a block."""
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=None):
        """Program within a block, or erase and write whole blocks."""
        self._file.seek(block * _BLOCK + (offset or 0))
        self._file.write(buffer)

    def ioctl(self, operation, argument):
        """Answer littlefs: 4 number of blocks, 5 block size, 6 erase a block."""
        if operation == 4:
            return _BLOCKS
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._file.seek(argument * _BLOCK)
            for _ in range(_BLOCK // _PIECE):
                self._file.write(self._erased)
        return 0
