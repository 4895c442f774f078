"""Packs on flash, in append-only segment files that survive power cuts, torn writes and flipped bits.

A pack is one or more records with the same ordinal: its parts, in the order in which they were collected. A record is

    magic, length of the body, place of the base time, SenML records in the body, number of the part, 0,
    ordinal of the pack, ordinal of the oldest pack not settled, packs dropped so far, boot, seq, monotonic ms of the pack,
    ms from there to this part; CRC-32

and the body, a piece of the SenML array. Since each record says how far the packs were settled and how many were dropped,
keeping that costs no writes of its own. A damaged record fails its CRC, and reading goes on at the next whole one.
A segment's name is the ordinal of its first pack, so what is missing can be counted.
"""

import os
import struct
from binascii import crc32

from micropython import const

# The flash is erased in blocks; a file never takes less.
_BLOCK = const(4096)
_SEGMENTS = const(16)

_MAGIC = const(b"AJ1\n")
_FORMAT = const("<4sHBBBBIIIIIQI")
_CRC_AT = const(42)
_HEADER = const(46)
_MAX_BODY = const(1024)
_CHUNK = const(512)


class Found:
    """A pack as it was found on flash."""

    def __init__(self, ordinal, boot, seq, taken_ms, base_time_at):
        self.ordinal = ordinal
        self.boot = boot
        self.seq = seq
        self.taken_ms = taken_ms
        self.base_time_at = base_time_at
        # An array whose length of one byte stands at 1.
        self.data = bytearray(b"\x98\x00")
        self.lost_parts = 0


class Journal:
    """The segment files of one folder.

    Attributes:
        next: Ordinal of the next pack.
        settled: Packs below this ordinal need not be sent (again), as far as the flash knows.
        dropped: Packs lost so far, as far as the flash knows.
        last_boot: Boot of the newest pack, 0 while there is none.
        last_ms: Monotonic time of its newest part in that boot.
    """

    def __init__(self, folder, quota_bytes):
        self._folder = folder
        self._quota = quota_bytes
        self._segment_bytes = max(_BLOCK, quota_bytes // _SEGMENTS)
        self._file = None
        self._header = bytearray(_HEADER)
        self._body = b""
        self.next = 0
        self.settled = 0
        self.dropped = 0
        self.last_boot = 0
        self.last_ms = 0
        try:
            os.mkdir(folder)
        except OSError:
            pass
        self._segments = self._list()
        self._recover()
        self._cursor = (0, 0)

    def _path(self, first):
        return "%s/%08x" % (self._folder, first)

    def _list(self):
        segments = []
        for name in os.listdir(self._folder):
            try:
                first = int(name, 16)
                size = os.stat(self._path(first))[6]
                if size:
                    segments.append([first, size])
                else:
                    # The power went between making it and writing to it.
                    os.remove(self._path(first))
            except (ValueError, OSError):
                print("journal: %s/%s is no segment" % (self._folder, name))
        segments.sort()
        return segments

    def _recover(self):
        """Find the newest whole record; it knows everything."""
        if not self._segments:
            return
        # What follows the newest whole record is at least one pack.
        at_least = 0
        for first, size in reversed(self._segments):
            end = self._newest(first, size)
            if end == size and not at_least:
                break
            at_least = max(at_least, first + 1, self.next + 1 if end else 0)
            if end:
                break
        self.next = max(self.next, at_least)
        oldest = self._segments[0][0]
        if oldest > self.settled:
            # A segment that was not settled is gone.
            self.dropped += oldest - self.settled
            self.settled = oldest

    def _newest(self, first, size):
        """Take what the newest whole record of a segment knows; return where it ends, 0 if there is none."""
        end = 0
        try:
            with open(self._path(first), "rb") as file:
                while True:
                    at = self._find(file, end, size)
                    if at < 0:
                        break
                    _, length, _, _, _, _, ordinal, settled, dropped, boot, _, taken_ms, span_ms = self._fields()
                    self.last_boot = boot
                    self.last_ms = taken_ms + span_ms
                    end = at + _HEADER + length
                    self.next = ordinal + 1
                    if settled >= self.settled:
                        self.settled = settled
                        self.dropped = dropped
        except OSError as error:
            print("journal: cannot read segment %08x: %s" % (first, error))
        return end

    def _fields(self):
        return struct.unpack_from(_FORMAT, self._header, 0)

    def _find(self, file, at, size):
        """Find the first whole record at or after a place; return its place and keep header and body, or return -1."""
        while at + _HEADER <= size:
            file.seek(at)
            file.readinto(self._header)
            if self._header[:4] == _MAGIC:
                length = struct.unpack_from("<H", self._header, 4)[0]
                if length <= _MAX_BODY and at + _HEADER + length <= size:
                    self._body = file.read(length)
                    if _crc(self._header, self._body) == struct.unpack_from("<I", self._header, _CRC_AT)[0]:
                        return at
            at = self._seek_magic(file, at + 1, size)
        return -1

    def _seek_magic(self, file, at, size):
        while at < size:
            file.seek(at)
            found = file.read(_CHUNK).find(_MAGIC)
            if found >= 0:
                return at + found
            # The magic may lie across the chunks.
            at += _CHUNK - len(_MAGIC) + 1
        return size

    def read(self, ordinal):
        """Return the first pack on flash with this ordinal or a higher one, or None."""
        for index, (first, size) in enumerate(self._segments):
            if index + 1 < len(self._segments) and self._segments[index + 1][0] <= ordinal:
                continue
            pack = self._read_in(first, size, ordinal)
            if pack is not None:
                return pack
        return None

    def _read_in(self, first, size, ordinal):
        pack = None
        at = self._cursor[1] if self._cursor[0] == first else 0
        try:
            with open(self._path(first), "rb") as file:
                while True:
                    end = at
                    at = self._find(file, end, size)
                    if at < 0:
                        break
                    _, length, base, count, part, _, found, _, _, boot, seq, taken_ms, _ = self._fields()
                    if pack is not None and at != end and (found == pack.ordinal or found == pack.ordinal + 1):
                        pack.lost_parts += 1
                    if pack is not None and found != pack.ordinal:
                        break
                    # Without its first part a pack has no name and no time.
                    if found >= ordinal and pack is None and part == 0:
                        pack = Found(found, boot, seq, taken_ms, base)
                    at += _HEADER + length
                    if pack is None:
                        # Nobody asks for lower ordinals again.
                        self._cursor = (first, at)
                    elif len(pack.data) + length <= _MAX_BODY and pack.data[1] + count <= 0xFF:
                        pack.data.extend(self._body)
                        pack.data[1] += count
        except OSError as error:
            print("journal: cannot read segment %08x: %s" % (first, error))
        self._body = b""
        return pack

    def floor(self, length):
        """Return the ordinal below which packs must go, so that a new record of this length fits into the quota."""
        total = _blocks(_HEADER + length)
        for _, size in self._segments:
            total += _blocks(size)
        floor = 0
        for index in range(len(self._segments) - 1):
            if total <= self._quota:
                break
            total -= _blocks(self._segments[index][1])
            floor = self._segments[index + 1][0]
        return floor

    def write(self, pack, part, settled, dropped, body, count, span_ms):
        """Append one part of a pack; it is durable when this returns.

        Args:
            pack: Has ordinal, boot, seq, taken_ms and base_time_at.
            part: Number of the part, from 0.
            settled: Ordinal of the oldest pack that is not settled.
            dropped: Packs dropped so far.
            body: Piece of the SenML array.
            count: Number of SenML records in it.
            span_ms: Time from the pack's first reading to this part's last.

        Raises:
            OSError: The flash is full or failing; the part is not in the journal.
        """
        header = bytearray(_HEADER)
        struct.pack_into(
            _FORMAT,
            header,
            0,
            _MAGIC,
            len(body),
            pack.base_time_at,
            count,
            part & 0xFF,
            0,
            pack.ordinal,
            settled,
            dropped,
            pack.boot,
            pack.seq,
            pack.taken_ms,
            span_ms,
        )
        struct.pack_into("<I", header, _CRC_AT, _crc(header, body))
        try:
            file = self._open(pack.ordinal, part, _HEADER + len(body))
            file.write(header)
            file.write(body)
            file.flush()
        except OSError:
            self._close()
            raise
        self._segments[-1][1] += _HEADER + len(body)
        self.next = pack.ordinal + 1
        self._remove_below(settled)

    def _open(self, ordinal, part, size):
        # The parts of a pack stay in one segment.
        full = not self._segments or (part == 0 and self._segments[-1][1] + size > self._segment_bytes)
        if full and (not self._segments or self._segments[-1][0] != ordinal):
            self._close()
            self._file = open(self._path(ordinal), "ab")
            self._segments.append([ordinal, 0])
        elif self._file is None:
            path = self._path(self._segments[-1][0])
            self._file = open(path, "ab")
            self._segments[-1][1] = os.stat(path)[6]
        return self._file

    def _close(self):
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass
            self._file = None

    def _remove_below(self, ordinal):
        while len(self._segments) > 1 and self._segments[1][0] <= ordinal:
            try:
                os.remove(self._path(self._segments[0][0]))
            except OSError as error:
                print("journal: cannot remove segment %08x: %s" % (self._segments[0][0], error))
            self._segments.pop(0)

    def remove_oldest(self):
        """Give the oldest segment's flash back; return the ordinal of the first pack left, or None if there is no more."""
        if len(self._segments) < 2:
            return None
        self._remove_below(self._segments[1][0])
        return self._segments[0][0]


def _crc(header, body):
    return crc32(body, crc32(memoryview(header)[4:_CRC_AT])) & 0xFFFFFFFF


def _blocks(size):
    return -(-size // _BLOCK) * _BLOCK
