"""Sensirion SHT3x and SHT4x: temperature and humidity on I2C, every word checked by its CRC.

Data sheets: SHT3x-DIS (sections 4.3, 4.12, 4.13) and SHT4x (sections 4.4 to 4.6).
"""

from andon_base import chip
from andon_node.drivers import ABSENT, CRC, OK
from andon_node.drivers.crc8 import crc8

# One measurement at high repeatability, without clock stretching: command, longest duration in ms (15.5 and 8.3) and one
# more, by which a sleep in ticks of a millisecond may be shorter.
_MEASURE = {"sht3x": (b"\x24\x00", 17), "sht4x": (b"\xfd", 10)}


def celsius(raw):
    """Temperature of a 16-bit word, the same for both families."""
    return 175 * raw / 65535 - 45


def relative_humidity(raw, kind):
    """Humidity in %RH of a 16-bit word; the SHT4x's scale reaches past both ends and is cut there, as its data sheet says."""
    if kind == "sht3x":
        return 100 * raw / 65535
    return min(max(125 * raw / 65535 - 6, 0.0), 100.0)


class Hygrometer:
    """One SHT3x or SHT4x; its fault is reported under its temperature."""

    def __init__(self, channel, i2c, address, kind):
        self.name = "temperature/%d" % channel
        self.fault = OK
        self._humidity = "humidity/%d" % channel
        self._i2c = i2c
        self._address = address
        self._kind = kind
        self._words = bytearray(6)

    def prepare(self):
        """Start a measurement."""
        command, duration_ms = _MEASURE[self._kind]
        try:
            self._i2c.writeto(self._address, command)
        except OSError:
            self.fault = ABSENT
            return 0
        self.fault = OK
        return duration_ms

    def read(self):
        """Fetch the finished measurement."""
        if self.fault == ABSENT:
            return ()
        try:
            self._i2c.readfrom_into(self._address, self._words)
        except OSError:
            self.fault = ABSENT
            return ()
        words = memoryview(self._words)
        if crc8(words[:3], 0xFF) != 0 or crc8(words[3:], 0xFF) != 0:
            self.fault = CRC
            return ()
        self.fault = OK
        temperature = celsius(words[0] << 8 | words[1])
        humidity = relative_humidity(words[3] << 8 | words[4], self._kind)
        return (self.name, "Cel", temperature), (self._humidity, "%RH", humidity)


def settings(section, pin, kind):
    """Check one entry."""
    return (
        section.channel(),
        pin(section, "sda", True, shared="sda"),
        pin(section, "scl", True, shared="scl"),
        # 0x44, or 0x45 with the address pin high (SHT3x) or another order number (SHT4x).
        section.integer("address", 0x44, 0x46, 0x44),
        kind,
    )


def names(chosen):
    """What it reports."""
    return "temperature/%d" % chosen[0], "humidity/%d" % chosen[0]


def open_driver(chosen, shared):
    """Take the bus."""
    from machine import Pin, SoftI2C

    channel, sda, scl, address, kind = chosen
    key = ("i2c", sda, scl)
    if key not in shared:
        shared[key] = SoftI2C(scl=Pin(chip.pin(scl)), sda=Pin(chip.pin(sda)), freq=100000)
    return Hygrometer(channel, shared[key], address, kind)
