"""`machine.SoftI2C` and `I2C` on the unix port: transactions with the SHT3x, SHT4x and Si7021 of the register file.

Commands and times as in Sensirion's and Silicon Labs' data sheets; a device that measures does not acknowledge its address.
"""

import machine
import registers
import utime
from micropython import const

_SHT3X = const(1)
_SI7021 = const(3)
_ENODEV = const(19)

# Data pins of the bus units, by chip.
_UNITS = {"esp32": {0: 19, 1: 26}, "stm32": {1: 25, 2: 27, 3: 41}}

# Kind -> command, duration in us.
_MEASURE = {1: (b"\x24\x00", 15500), 2: (b"\xfd", 8300), 3: (b"\xf5", 20000)}
_SI7021_PREVIOUS_TEMPERATURE = b"\xe0"


def _crc8(first, second, crc=0xFF):
    for byte in (first, second):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


class SoftI2C:
    """A bus, known by its data pin."""

    def __init__(self, scl, sda, *, freq=400000, timeout=50000):  # noqa: ARG002 - MicroPython's signature
        self._begin(sda.gpio)

    def _begin(self, sda):
        self._sda = sda
        self._measuring = {}
        # Of an Si7021: words of the newest measurement, and whether the next read is for its temperature.
        self._previous = {}
        self._temperature_next = False

    def _device(self, address):
        found = registers.i2c_device(self._sda, address)
        if found is None:
            raise OSError(_ENODEV)
        return found

    def _finished(self, device):
        return utime.ticks_diff(utime.ticks_us(), self._measuring[device][0]) >= 0

    def scan(self):
        """Addresses that answer."""
        return [address for address in range(8, 120) if registers.i2c_device(self._sda, address)]

    def writeto(self, address, buf, stop=True):  # noqa: ARG002 - MicroPython's signature
        """Send a command."""
        device, kind = self._device(address)
        command, duration_us = _MEASURE[kind]
        if device in self._measuring and kind == _SI7021 and not self._finished(device):
            raise OSError(_ENODEV)
        self._temperature_next = kind == _SI7021 and bytes(buf) == _SI7021_PREVIOUS_TEMPERATURE
        if bytes(buf) == command:
            self._measuring[device] = (utime.ticks_add(utime.ticks_us(), duration_us), registers.i2c_words(device))
        elif kind == _SHT3X and len(buf) != 2:
            raise OSError(_ENODEV)
        return len(buf)

    def readfrom_into(self, address, buf, stop=True):  # noqa: ARG002 - MicroPython's signature
        """Fetch a finished measurement, once."""
        device, kind = self._device(address)
        if self._temperature_next and device in self._previous:
            self._temperature_next = False
            word = self._previous[device][0]
            buf[:] = bytes((word >> 8, word & 0xFF))[: len(buf)]
            return
        if device not in self._measuring or not self._finished(device):
            raise OSError(_ENODEV)
        _, words = self._measuring.pop(device)
        clean = registers.log_i2c(device, registers.now_us(), words)
        if kind == _SI7021:
            self._previous[device] = words
            high, low = words[1] >> 8, words[1] & 0xFF
            buf[:] = bytes((high, low if clean else low ^ 0x04, _crc8(high, low, 0)))[: len(buf)]
            return
        data = bytearray()
        for word in words:
            data.extend(bytes((word >> 8, word & 0xFF, _crc8(word >> 8, word & 0xFF))))
        if not clean:
            data[4] ^= 0x04
        buf[:] = data[: len(buf)]

    def readfrom(self, address, nbytes, stop=True):
        """The same into a new buffer."""
        data = bytearray(nbytes)
        self.readfrom_into(address, data, stop)
        return bytes(data)


class I2C(SoftI2C):
    """A bus unit of the chip, on its own pins or, on an ESP32, on given ones."""

    def __init__(self, id, *, scl=None, sda=None, freq=400000, timeout=50000):  # noqa: A002, ARG002 - MicroPython's signature
        units = _UNITS[machine.family]
        if id not in units:
            raise ValueError("I2C(%d) doesn't exist" % id)
        self._begin(units[id] if sda is None else sda.gpio)
