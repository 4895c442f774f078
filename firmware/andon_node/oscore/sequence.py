"""Sender sequence numbers that are never used twice, whatever happens to the power (RFC 8613 7.2 and B.1.1).

Only a bound is stored: every number below it may have been used. It is raised by a whole step before the first number of
that step is used, and a restart continues at the bound. So a step costs one small write, and a power cut at most a step.

The bound lives in two files that are written in turn, each 16 bytes: magic, bound (8 bytes, big-endian), CRC-32. A torn
write spoils one file; the other still holds the bound before. Since it cannot be told whether the spoiled file was ever
whole, a start that finds one spoiled takes the bound of the other plus the largest step there is.
"""

import os
import struct
from binascii import crc32

from micropython import const

from .errors import SequenceError, SequenceLostError

MAX_STEP = const(4096)
DEFAULT_STEP = const(1024)  # at one message a second: 85 writes a day
MAX_NUMBER = (1 << 40) - 1  # RFC 8613 7.2.1

_MAGIC = const(b"OSN1")
_FORMAT = const(">4sQ")
_RECORD_BYTES = const(16)


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _record(bound: int) -> bytes:
    body = struct.pack(_FORMAT, _MAGIC, bound)
    return body + struct.pack(">I", crc32(body) & 0xFFFFFFFF)


def _read(path: str) -> int:
    """Return the bound in a file, or -1 if the file is missing, torn or damaged."""
    try:
        with open(path, "rb") as file:
            record = file.read(_RECORD_BYTES + 1)
    except OSError:
        return -1
    if len(record) != _RECORD_BYTES:
        return -1
    bound = struct.unpack(_FORMAT, record)[1]
    return bound if record == _record(bound) else -1


class FileSequenceStore:
    """The bound on flash.

    Args:
        path: Name without extension; the two files are `path.0` and `path.1`. One per security context.
    """

    def __init__(self, path: str) -> None:
        self._paths = (path + ".0", path + ".1")
        self._slot = 0  # the file that holds the highest bound
        self._bound = -1

    def create(self) -> None:
        """Begin at 0, for keys that were never used. Only provisioning may call this.

        Raises:
            SequenceError: There is a stored number already; beginning again would use numbers twice.
        """
        if _exists(self._paths[0]) or _exists(self._paths[1]):
            raise SequenceError(self._paths[0] + " exists: remove both files, but only together with the old keys")
        self._write(0, 0)
        self._write(1, 0)

    def load(self) -> int:
        """Return the first number that was surely never used.

        Raises:
            SequenceLostError: Neither file is whole; numbers used before are unknown, so the keys are worth nothing now.
        """
        bounds = (_read(self._paths[0]), _read(self._paths[1]))
        slot = 0 if bounds[0] >= bounds[1] else 1
        if bounds[slot] < 0:
            raise SequenceLostError("no whole sequence number in " + self._paths[0] + " and .1: provision new keys")
        self._slot = slot
        self._bound = bounds[slot]
        if bounds[1 - slot] < 0:
            # Written at once, so that never more than one step lies between the two files.
            self.reserve(self._bound + MAX_STEP)
        return self._bound

    def reserve(self, upto: int) -> None:
        """Make it durable that all numbers below `upto` may be used from now on.

        Raises:
            SequenceError: The flash did not take it, or the step is too large; the numbers must not be used.
        """
        if self._bound < 0:
            raise SequenceError("load the store before reserving numbers")
        if not self._bound < upto <= self._bound + MAX_STEP:
            raise SequenceError("a step has 1 to 4096 numbers")
        self._write(1 - self._slot, upto)
        self._slot = 1 - self._slot
        self._bound = upto

    def _write(self, slot: int, bound: int) -> None:
        path = self._paths[slot]
        try:
            with open(path, "wb") as file:
                file.write(_record(bound))
                file.flush()
        except OSError:
            pass  # reading back tells
        if _read(path) != bound:
            raise SequenceError("cannot store the sequence number in " + path + ": the flash is full or failing")


class SenderSequence:
    """Hands out sender sequence numbers, each once.

    Args:
        store: A `FileSequenceStore`, or anything with its `load` and `reserve`.
        step: How many numbers are reserved with one write, 1 to 4096.
    """

    def __init__(self, store: FileSequenceStore, step: int = DEFAULT_STEP) -> None:
        if not 1 <= step <= MAX_STEP:
            raise ValueError("step is 1 to 4096")
        self._store = store
        self._step = step
        self._next = store.load()
        self._bound = self._next  # nothing is reserved yet: the first message after a start writes once

    def take(self) -> int:
        """Return the next number; it counts as used even if the message is never sent.

        Raises:
            SequenceError: The store failed, or all 2^40 numbers are used.
        """
        number = self._next
        if number > MAX_NUMBER:
            raise SequenceError("all sender sequence numbers are used: provision new keys")
        if number >= self._bound:
            self._store.reserve(number + self._step)
            self._bound = number + self._step
        self._next = number + 1
        return number
