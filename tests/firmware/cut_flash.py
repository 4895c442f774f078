"""Runs on the MicroPython VM: a flash whose power fails in the middle of a write or an erasure, for littlefs to lie on."""

_EIO = -5


class CutFlash:
    """NOR flash in RAM that loses power after `budget` bytes were written or erased; the last write stays torn.

    Args:
        cells: What is on it; a restart takes those of the flash before.
        block: Bytes that are erased together.
    """

    def __init__(self, cells: bytearray, block: int) -> None:
        self.cells = cells
        self.budget = 1 << 30
        self.dead = False
        self._block = block

    def _spend(self, wanted: int) -> int:
        """How many of the wanted bytes get through."""
        if wanted > self.budget:
            self.dead = True
            wanted = self.budget
        self.budget -= wanted
        return wanted

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> int:
        """MicroPython's block device: read."""
        start = block * self._block + offset
        buffer[:] = self.cells[start : start + len(buffer)]
        return _EIO if self.dead else 0

    def writeblocks(self, block: int, buffer: bytes, offset: int = 0) -> int:
        """MicroPython's block device: program."""
        done = self._spend(len(buffer))
        start = block * self._block + offset
        self.cells[start : start + done] = buffer[:done]
        return _EIO if self.dead else 0

    def ioctl(self, operation: int, argument: int) -> int:
        """MicroPython's block device: 4 number of blocks, 5 size of a block, 6 erase one."""
        if operation == 4:
            return len(self.cells) // self._block
        if operation == 5:
            return self._block
        if operation == 6:
            done = self._spend(self._block)
            start = argument * self._block
            self.cells[start : start + done] = b"\xff" * done
        return _EIO if self.dead else 0
