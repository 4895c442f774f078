"""The world's side of the register file: a board's pins and sensors as bytes (docs/emulation.md, version 1).

Each byte has one writer. Counters publish what was written before them, so they are stored and loaded as whole native
words through a cast memoryview: `struct` with an explicit byte order works byte by byte, and the board could see half
of a counter.
"""

from __future__ import annotations

import mmap
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from andon_workbench.errors import RegisterFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

FILE_SIZE = 262_144
MAGIC = b"ANDR"
VERSION = 1
PINS = 48
SENSORS = 8
SPI_DEVICES = 4
RING = 256
NO_SENSOR = 255
POWER_ON_RAW = 85 * 16

_WIFI, _RSSI, _STARTS = 8, 9, 12
_PIN_BASE, _PIN_SIZE = 64, 64
_SENSOR_BASE, _SENSOR_SIZE = 4096, 128
_LOG_BASE, _LOG_SIZE = 8192, 4096
_EDGE_BASE, _EDGE_SIZE = 65536, 2048
_SPI_BASE, _SPI_SIZE = 5632, 64
_SPI_LOG_BASE = 163_840
_MAX31855 = 1
_I2C_BASE, _I2C_SIZE = 5120, 64
_SI7021, _SI7021_ADDRESS = 3, 0x40
_U32 = 0xFFFF_FFFF
_LOG_RECORD = struct.Struct("<QhBBI")
_SPI_RECORD = struct.Struct("<QII")


@dataclass(frozen=True, slots=True)
class Edge:
    """One change of an input's level, at `time_us` on the host's CLOCK_MONOTONIC."""

    time_us: int
    level: int


@dataclass(frozen=True, slots=True)
class ScratchpadRead:
    """One scratchpad read that was delivered to the board.

    `raw` is in 1/16 degC; `clean` means that no bit was flipped; `converted` is false for the power-on value.
    """

    time_us: int
    raw: int
    clean: bool
    converted: bool


@dataclass(frozen=True, slots=True)
class ThermocoupleRead:
    """One word that a MAX31855 delivered to the board; `raw` is the tip's temperature in 1/4 degC."""

    time_us: int
    raw: int
    faulty: bool


@dataclass(frozen=True, slots=True)
class DrivenPin:
    """What the board drives on a pin: level, number of changes so far and the time of the last one."""

    level: int
    changes: int
    changed_us: int


def crc8_maxim(data: bytes) -> int:
    """CRC-8/MAXIM-DOW, the check byte of 1-wire ROM codes (Maxim application note 27)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8C if crc & 1 else crc >> 1
    return crc


def rom_code(serial: int) -> bytes:
    """ROM code of a DS18B20: family 0x28, 48-bit serial, CRC-8."""
    body = b"\x28" + serial.to_bytes(6, "little")
    return body + bytes([crc8_maxim(body)])


class RegisterFile:
    """The world's view of one board's register file. Use as a context manager, or call `close`."""

    def __init__(self, path: Path) -> None:
        """Map an existing register file.

        Raises:
            RegisterFileError: the file is not a register file of this version, or the host is big-endian.
        """
        if sys.byteorder != "little":
            raise RegisterFileError("register files need a little-endian host: counters are shared as native words")
        self.path = path
        with path.open("r+b") as file:
            size = file.seek(0, 2)
            if size != FILE_SIZE:
                raise RegisterFileError(f"{path}: expected a register file of {FILE_SIZE} bytes, found {size}")
            self._map = mmap.mmap(file.fileno(), FILE_SIZE)
        self._bytes = memoryview(self._map)
        self._u32 = self._bytes.cast("I")
        self._u64 = self._bytes.cast("Q")
        self._taken = [0] * SENSORS
        self._words_taken = [0] * SPI_DEVICES
        magic, version = bytes(self._map[:4]), struct.unpack_from("<H", self._map, 4)[0]
        if magic != MAGIC or version != VERSION:
            self.close()
            raise RegisterFileError(
                f"{path}: expected magic {MAGIC!r} and version {VERSION}, found {magic!r} and {version}"
            )

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new register file: Wi-Fi reachable, no sensors, all inputs low."""
        with path.open("xb") as file:
            file.truncate(FILE_SIZE)
            for sensor in range(SENSORS):
                file.seek(_SENSOR_BASE + sensor * _SENSOR_SIZE)
                file.write(bytes([NO_SENSOR]))
            file.seek(_WIFI)
            file.write(struct.pack("<Bb", 1, -58))
            file.seek(0)
            file.write(MAGIC + struct.pack("<H", VERSION))
        return cls(path)

    def close(self) -> None:
        """Unmap the file; its content stays."""
        self._u32.release()
        self._u64.release()
        self._bytes.release()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _board_counter(self, offset: int) -> int:
        """A counter of the board, read until it reads the same twice: the board may write it byte by byte."""
        word = offset // 4
        seen = self._u32[word]
        while (again := self._u32[word]) != seen:
            seen = again
        return seen

    # --- the board as a whole -------------------------------------------------------------------------------------

    @property
    def starts(self) -> int:
        """How many times the board process has started."""
        return self._u32[_STARTS // 4]

    def set_wifi(self, *, reachable: bool, rssi_dbm: int = -58) -> None:
        """Put the board in or out of reach of its access point."""
        struct.pack_into("<b", self._map, _RSSI, rssi_dbm)
        self._map[_WIFI] = int(reachable)

    # --- pins -------------------------------------------------------------------------------------------------------

    def driven(self, pin: int) -> DrivenPin:
        """What the board drives on `pin` now; consistent even while the board is changing it."""
        base = _pin(pin)
        while True:
            changes = self._board_counter(base + 4)
            seen = DrivenPin(self._map[base + 1], changes, self._u64[(base + 8) // 8])
            if self._board_counter(base + 4) == changes:
                return seen

    def input_level(self, pin: int) -> int:
        """Level that the world applies to `pin`."""
        return self._map[_pin(pin)]

    def set_input(self, pin: int, level: int) -> None:
        """Apply a steady level to `pin`, without an edge record."""
        self._map[_pin(pin)] = level

    def edges_published(self, pin: int) -> int:
        """Number of edges ever published on `pin` (modulo 2**32)."""
        return self._u32[(_pin(pin) + 16) // 4]

    def publish_edges(self, pin: int, edges: Iterable[Edge]) -> None:
        """Append edges, oldest first; the ring's counter moves once per edge, after its record."""
        base, ring = _pin(pin), (_EDGE_BASE + pin * _EDGE_SIZE) // 8
        counter = (base + 16) // 4
        for edge in edges:
            count = self._u32[counter]
            self._u64[ring + count % RING] = edge.time_us << 1 | edge.level
            self._map[base] = edge.level
            self._u32[counter] = (count + 1) & _U32

    def edges(self, pin: int) -> list[Edge]:
        """The edges that the ring still holds, oldest first (at most 256)."""
        count = self.edges_published(pin)
        ring = (_EDGE_BASE + pin * _EDGE_SIZE) // 8
        words = [self._u64[ring + number % RING] for number in range(max(0, count - RING), count)]
        return [Edge(word >> 1, word & 1) for word in words]

    # --- 1-wire temperature sensors -----------------------------------------------------------------------------------

    def place_sensor(self, sensor: int, *, bus_pin: int, rom: bytes, raw: int) -> None:
        """Wire a sensor to the bus at GPIO `bus_pin`; `raw` is its temperature in 1/16 degC."""
        base = _sensor(sensor)
        self._map[base + 8 : base + 16] = rom
        self.set_temperature(sensor, raw)
        self._map[base + 1] = 1
        self._map[base] = bus_pin

    def set_temperature(self, sensor: int, raw: int) -> None:
        """Set what the sensor measures at its next conversion, in 1/16 degC (-55 to 125 degC, as the DS18B20)."""
        clamped = max(-55 * 16, min(125 * 16, raw))
        base = _sensor(sensor) + 4
        self._map[base : base + 2] = struct.pack("<h", clamped)

    def set_connected(self, sensor: int, *, connected: bool) -> None:
        """Plug or unplug the sensor's cable."""
        self._map[_sensor(sensor) + 1] = int(connected)

    def brown_out(self, sensor: int) -> None:
        """Interrupt the sensor's supply: its scratchpad falls back to the power-on value."""
        base = _sensor(sensor)
        self._map[base + 2] = (self._map[base + 2] + 1) & 0xFF

    def flip_next_reads(self, sensor: int, count: int) -> None:
        """Deliver the next `count` scratchpad reads with one bit flipped."""
        base = _sensor(sensor)
        self._u32[(base + 16) // 4] = (self.reads_delivered(sensor) + count) & _U32

    def reads_delivered(self, sensor: int) -> int:
        """Number of scratchpad reads ever delivered (modulo 2**32)."""
        return self._board_counter(_sensor(sensor) + 64)

    def new_reads(self, sensor: int) -> Iterator[ScratchpadRead]:
        """The reads delivered since the last call, oldest first.

        Raises:
            RegisterFileError: more than 256 reads passed since the last call, so that some are lost.
        """
        delivered = self.reads_delivered(sensor)
        taken = self._taken[sensor]
        if (delivered - taken) & _U32 > RING:
            raise RegisterFileError(
                f"{self.path}: {(delivered - taken) & _U32} reads of sensor {sensor} since the last look, the log holds "
                f"{RING}: the world was stopped for too long"
            )
        self._taken[sensor] = delivered
        base = _LOG_BASE + sensor * _LOG_SIZE
        number = taken
        while number != delivered:
            time_us, raw, clean, converted, _ = _LOG_RECORD.unpack_from(self._map, base + number % RING * 16)
            yield ScratchpadRead(time_us, raw, bool(clean), bool(converted))
            number = (number + 1) & _U32

    # --- thermocouples on SPI -----------------------------------------------------------------------------------------

    def place_thermocouple(self, device: int, *, miso: int, select: int) -> None:
        """Wire a MAX31855 to the data pin `miso` and the select pin `select`."""
        base = _spi(device)
        self._map[base + 1 : base + 3] = bytes([miso, select])
        self._map[base + 3] = 1
        self._map[base] = _MAX31855

    def set_thermocouple(self, device: int, *, tip_raw: int, junction_raw: int) -> None:
        """Set what the chip has converted: tip in 1/4 degC, its own temperature in 1/16 degC (data sheet 19-5793, table 2)."""
        word = (tip_raw & 0x3FFF) << 18 | (junction_raw & 0xFFF) << 4
        self._u32[(_spi(device) + 4) // 4] = word

    def disconnect_thermocouple(self, device: int) -> None:
        """Unplug the chip: the line reads as ones."""
        self._map[_spi(device) + 3] = 0

    # --- hygrometers on I2C -------------------------------------------------------------------------------------------

    def place_si7021(self, device: int, *, sda: int) -> None:
        """Wire an Si7021 to the I2C bus whose data pin is `sda`."""
        base = _I2C_BASE + device * _I2C_SIZE
        self._map[base + 1 : base + 4] = bytes([sda, _SI7021_ADDRESS, 1])
        self._map[base] = _SI7021

    def set_si7021(self, device: int, *, temperature_word: int, humidity_word: int) -> None:
        """Set the two 16-bit words that it measures next."""
        self._u32[(_I2C_BASE + device * _I2C_SIZE + 4) // 4] = humidity_word << 16 | temperature_word

    def new_thermocouple_reads(self, device: int) -> Iterator[ThermocoupleRead]:
        """The words delivered since the last call, oldest first.

        Raises:
            RegisterFileError: more than 256 passed since the last call, so that some are lost.
        """
        delivered = self._board_counter(_spi(device) + 32)
        number = self._words_taken[device]
        if (delivered - number) & _U32 > RING:
            raise RegisterFileError(f"{self.path}: the world was stopped for too long to see every thermocouple read")
        self._words_taken[device] = delivered
        while number != delivered:
            at = _SPI_LOG_BASE + device * _LOG_SIZE + number % RING * _SPI_RECORD.size
            time_us, word, _ = _SPI_RECORD.unpack_from(self._map, at)
            tip = word >> 18
            yield ThermocoupleRead(time_us, tip - 0x4000 if tip & 0x2000 else tip, bool(word & 0x10000))
            number = (number + 1) & _U32


def _spi(device: int) -> int:
    if not 0 <= device < SPI_DEVICES:
        raise RegisterFileError(f"SPI device {device}: expected 0 to {SPI_DEVICES - 1}")
    return _SPI_BASE + device * _SPI_SIZE


def _pin(pin: int) -> int:
    if not 0 <= pin < PINS:
        raise RegisterFileError(f"GPIO {pin}: expected 0 to {PINS - 1}")
    return _PIN_BASE + pin * _PIN_SIZE


def _sensor(sensor: int) -> int:
    if not 0 <= sensor < SENSORS:
        raise RegisterFileError(f"sensor {sensor}: expected 0 to {SENSORS - 1}")
    return _SENSOR_BASE + sensor * _SENSOR_SIZE
