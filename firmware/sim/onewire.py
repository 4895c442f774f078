"""`onewire` on the unix port: a bus whose sensors are DS18B20s of the register file, spoken to command by command.

Scratchpad (DS18B20 data sheet, figure 7): temperature LSB, MSB, TH, TL, configuration, 0xFF, reserved, 0x10, CRC-8.
"""

import registers
import utime
from micropython import const

_POWER_ON_RAW = const(85 * 16)
# What the chip shows in byte 6 until its first conversion; after one it is 0x10 minus the low four bits.
_POWER_ON_SIGNATURE = const(0x0C)
_CONVERSION_US = const(750000)


class OneWireError(Exception):
    """No presence pulse."""


class _Sensor:
    """State of one sensor between commands: it lives as long as the board is powered."""

    def __init__(self, number):
        self.number = number
        self.brown_outs = registers.brown_outs(number)
        self.raw = _POWER_ON_RAW
        self.converted = False
        self.pending = None
        self.started_us = 0

    def settle(self):
        """Bring brown-outs and a finished conversion into the scratchpad."""
        brown_outs = registers.brown_outs(self.number)
        if brown_outs != self.brown_outs:
            self.brown_outs = brown_outs
            self.raw = _POWER_ON_RAW
            self.converted = False
            self.pending = None
        elif self.pending is not None and utime.ticks_diff(utime.ticks_us(), self.started_us) >= _CONVERSION_US:
            self.raw = self.pending
            self.converted = True
            self.pending = None

    def convert(self):
        """Start a conversion of the temperature there is now."""
        self.settle()
        registers.count_conversion(self.number)
        self.pending = registers.temperature(self.number)
        self.started_us = utime.ticks_us()

    def scratchpad(self):
        """The nine bytes as the wire delivers them, logged in the register file."""
        self.settle()
        low = self.raw & 0xFF
        reserved = 0x10 - (low & 0x0F) if self.converted else _POWER_ON_SIGNATURE
        data = bytearray((low, (self.raw >> 8) & 0xFF, 0x4B, 0x46, 0x7F, 0xFF, reserved, 0x10, 0))
        data[8] = _crc8(data, 8)
        if not registers.log_read(self.number, registers.now_us(), self.raw, self.converted):
            data[0] ^= 0x10
        return data


_sensors = {}


def _sensor(number):
    if number not in _sensors:
        _sensors[number] = _Sensor(number)
    return _sensors[number]


def _crc8(data, length):
    crc = 0
    for index in range(length):
        crc ^= data[index]
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8C if crc & 1 else crc >> 1
    return crc


class OneWire:
    """A 1-wire bus on one pin."""

    SEARCH_ROM = 0xF0
    MATCH_ROM = 0x55
    SKIP_ROM = 0xCC

    def __init__(self, pin):
        self.pin = pin
        self._selected = []
        self._reply = b""
        self._incoming = None

    def reset(self, required=False):
        """Reset pulse; whether any sensor answered."""
        self._selected = []
        self._reply = b""
        self._incoming = None
        present = bool(registers.sensors_on(self.pin.gpio))
        if required and not present:
            raise OneWireError
        return present

    def writebyte(self, value):
        """Send a ROM or function command, or a byte of one."""
        if self._incoming is not None:
            self._incoming.append(value)
            if len(self._incoming) == 8:
                self._selected = [
                    s for s in registers.sensors_on(self.pin.gpio) if registers.rom(s) == bytes(self._incoming)
                ]
                self._incoming = None
        elif value == self.SKIP_ROM:
            self._selected = registers.sensors_on(self.pin.gpio)
        elif value == self.MATCH_ROM:
            self._incoming = bytearray()
        elif value == 0x44:
            for number in self._selected:
                _sensor(number).convert()
        elif value == 0xBE and self._selected:
            # Several selected sensors would answer at once; the first stands for the wired-and that no one can use.
            self._reply = _sensor(self._selected[0]).scratchpad()

    def write(self, buf):
        """Send bytes."""
        for value in buf:
            self.writebyte(value)

    def select_rom(self, rom):
        """Reset and address one sensor."""
        self.reset()
        self.writebyte(self.MATCH_ROM)
        self.write(rom)

    def readinto(self, buf):
        """Read what the selected sensor sends; a released bus reads as ones."""
        for index in range(len(buf)):
            buf[index] = self._reply[index] if index < len(self._reply) else 0xFF

    def readbyte(self):
        """Read one byte."""
        one = bytearray(1)
        self.readinto(one)
        self._reply = self._reply[1:]
        return one[0]

    def scan(self):
        """ROM codes of the sensors on the bus."""
        return [bytearray(registers.rom(number)) for number in registers.sensors_on(self.pin.gpio)]

    def crc8(self, data):
        """Maxim's CRC-8; 0 over data with its CRC appended."""
        return _crc8(data, len(data))
