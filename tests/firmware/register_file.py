"""The world's side of the register file, as far as the firmware's tests need it (docs/emulation.md)."""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 262144


def crc8(data: bytes) -> int:
    """Maxim's CRC-8, bit by bit as the data sheet draws its shift register."""
    register = 0
    for byte in data:
        for bit in range(8):
            feedback = (register ^ (byte >> bit)) & 1
            register >>= 1
            if feedback:
                register ^= 0x8C
    return register


def rom_code(serial: int) -> bytes:
    """A DS18B20's ROM code."""
    head = b"\x28" + serial.to_bytes(6, "little")
    return head + bytes([crc8(head)])


@dataclass(frozen=True)
class ReadRecord:
    """One record of a sensor's reading log."""

    time_us: int
    raw: int
    clean: bool
    converted: bool


class RegisterFile:
    """Writes pins and sensors, reads what the board does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("wb") as file:
            file.truncate(SIZE)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)
        for sensor in range(8):
            self._map[4096 + 128 * sensor] = 255
        self.wifi(reachable=True, rssi=-61)
        struct.pack_into("<H", self._map, 4, 1)
        self._map[0:4] = b"ANDR"

    def close(self) -> None:
        self._map.close()

    def wifi(self, *, reachable: bool, rssi: int = -61) -> None:
        struct.pack_into("<Bb", self._map, 8, reachable, rssi)

    def sensor(self, number: int, gpio: int, raw: int, *, serial: int = 1) -> None:
        base = 4096 + 128 * number
        struct.pack_into("<h", self._map, base + 4, raw)
        self._map[base + 8 : base + 16] = rom_code(serial)
        self._map[base + 1] = 1
        self._map[base] = gpio

    def plug(self, number: int, *, connected: bool) -> None:
        self._map[4096 + 128 * number + 1] = connected

    def brown_out(self, number: int) -> None:
        self._map[4096 + 128 * number + 2] += 1

    def flip_until(self, number: int, reads: int) -> None:
        struct.pack_into("<I", self._map, 4096 + 128 * number + 16, reads)

    def reads(self, number: int) -> int:
        return int(struct.unpack_from("<I", self._map, 4096 + 128 * number + 64)[0])

    def log(self, number: int) -> list[ReadRecord]:
        """All reads so far, as long as there are at most 256."""
        records = []
        for index in range(self.reads(number)):
            time_us, raw, clean, converted = struct.unpack_from("<QhBB", self._map, 8192 + 4096 * number + 16 * index)
            records.append(ReadRecord(time_us, raw, bool(clean), bool(converted)))
        return records

    def input(self, gpio: int, level: int) -> None:
        self._map[64 + 64 * gpio] = level

    def edge(self, gpio: int, level: int, time_us: int | None = None) -> None:
        """Publish one edge and the level after it."""
        time_us = time.monotonic_ns() // 1000 if time_us is None else time_us
        base = 64 + 64 * gpio
        (number,) = struct.unpack_from("<I", self._map, base + 16)
        self._map[base] = level
        struct.pack_into("<Q", self._map, 65536 + 2048 * gpio + 8 * (number % 256), time_us << 1 | level)
        struct.pack_into("<I", self._map, base + 16, (number + 1) & 0xFFFFFFFF)

    def output(self, gpio: int) -> tuple[int, int, int]:
        """(level, mode, number of changes)."""
        base = 64 + 64 * gpio
        return self._map[base + 1], self._map[base + 2], struct.unpack_from("<I", self._map, base + 4)[0]

    def starts(self) -> int:
        return int(struct.unpack_from("<I", self._map, 12)[0])
