"""`machine.SoftI2C` on the unix port: transactions with the SHT3x and SHT4x of the register file.

Commands and times as in Sensirion's data sheets; a device that measures does not acknowledge its address.
"""

import registers
import utime
from micropython import const

_SHT3X = const(1)
_ENODEV = const(19)

# Kind -> command, duration in us.
_MEASURE = {1: (b"\x24\x00", 15500), 2: (b"\xfd", 8300)}


def _crc8(first, second):
    crc = 0xFF
    for byte in (first, second):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


class SoftI2C:
    """A bus, known by its data pin."""

    def __init__(self, scl, sda, *, freq=400000, timeout=50000):  # noqa: ARG002 - MicroPython's signature
        self._sda = sda.gpio
        self._measuring = {}

    def _device(self, address):
        found = registers.i2c_device(self._sda, address)
        if found is None:
            raise OSError(_ENODEV)
        return found

    def scan(self):
        """Addresses that answer."""
        return [address for address in range(8, 120) if registers.i2c_device(self._sda, address)]

    def writeto(self, address, buf, stop=True):  # noqa: ARG002 - MicroPython's signature
        """Send a command."""
        device, kind = self._device(address)
        command, duration_us = _MEASURE[kind]
        if bytes(buf) == command:
            self._measuring[device] = (utime.ticks_add(utime.ticks_us(), duration_us), registers.i2c_words(device))
        elif kind == _SHT3X and len(buf) != 2:
            raise OSError(_ENODEV)
        return len(buf)

    def readfrom_into(self, address, buf, stop=True):  # noqa: ARG002 - MicroPython's signature
        """Fetch a finished measurement, once."""
        device, _ = self._device(address)
        if device not in self._measuring or utime.ticks_diff(utime.ticks_us(), self._measuring[device][0]) < 0:
            raise OSError(_ENODEV)
        _, words = self._measuring.pop(device)
        clean = registers.log_i2c(device, utime.ticks_us(), words)
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


I2C = SoftI2C
