"""The world's side of the register file's areas for I2C, SPI, ADC and Modbus (docs/emulation.md)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware.register_file import RegisterFile

SHT3X, SHT4X, SI7021 = 1, 2, 3
MAX31855 = 1


def place_i2c(
    registers: RegisterFile,
    number: int,
    kind: int,
    *,
    sda: int,
    address: int,
    words: tuple[int, int],
    connected: bool = True,
) -> None:
    struct.pack_into("<BBBBHH", registers._map, 5120 + 64 * number, kind, sda, address, connected, *words)


def flip_i2c_until(registers: RegisterFile, number: int, reads: int) -> None:
    struct.pack_into("<I", registers._map, 5120 + 64 * number + 8, reads)


def i2c_reads(registers: RegisterFile, number: int) -> list[tuple[int, int, bool]]:
    """(first word, second word, clean) of each delivered measurement, at most 128."""
    (count,) = struct.unpack_from("<I", registers._map, 5120 + 64 * number + 32)
    records = [
        struct.unpack_from("<QHHB", registers._map, 40960 + 2048 * number + 16 * index) for index in range(count)
    ]
    return [(first, second, bool(clean)) for _, first, second, clean in records]


def place_spi(registers: RegisterFile, number: int, *, miso: int, cs: int, word: int, connected: bool = True) -> None:
    struct.pack_into("<BBBBI", registers._map, 5632 + 64 * number, MAX31855, miso, cs, connected, word)


def spi_reads(registers: RegisterFile, number: int) -> list[int]:
    """The words delivered so far, at most 256."""
    (count,) = struct.unpack_from("<I", registers._map, 5632 + 64 * number + 32)
    return [struct.unpack_from("<QI", registers._map, 163840 + 4096 * number + 16 * index)[1] for index in range(count)]


def voltage(registers: RegisterFile, gpio: int, microvolts: int) -> None:
    struct.pack_into("<I", registers._map, 5888 + 8 * gpio, microvolts)


def place_modbus(registers: RegisterFile, number: int, *, uart: int, unit: int, disturbance: int = 0) -> None:
    struct.pack_into("<BBBB", registers._map, 6400 + 512 * number, 1, uart, unit, disturbance)


def modbus_words(registers: RegisterFile, number: int, register: int, *words: int, table: str = "holding") -> None:
    at = 6400 + 512 * number + (16 if table == "holding" else 256) + 2 * register
    struct.pack_into(f"<{len(words)}H", registers._map, at, *words)


def modbus_requests(registers: RegisterFile, number: int) -> int:
    return int(struct.unpack_from("<I", registers._map, 6400 + 512 * number + 8)[0])
