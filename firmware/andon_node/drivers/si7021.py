"""Silicon Labs Si7021: temperature and humidity on I2C, on the chip's own bus unit or on any two pins.

Data sheet Si7021-A20, sections 5.1 (measurements, table 11: commands) and 5.1.1 (formulas, checksum).
"""

from andon_node.drivers import ABSENT, CRC, OK
from andon_node.drivers.crc8 import crc8

_ADDRESS = 0x40
# "Measure relative humidity, no hold master mode": it does not acknowledge while it measures, at most 12 ms for the
# humidity and 10.8 ms for the temperature that belongs to it (table 2).
_MEASURE_HUMIDITY = b"\xf5"
# The temperature that it measured along with the humidity; comes without a checksum, so it is fetched twice.
_PREVIOUS_TEMPERATURE = b"\xe0"
_DURATION_MS = 25


def celsius(raw):
    """Temperature of a 16-bit word."""
    return 175.72 * raw / 65536 - 46.85


def relative_humidity(raw):
    """Humidity in %RH of a 16-bit word; the formula reaches past both ends and is cut there, as the data sheet says."""
    return min(max(125 * raw / 65536 - 6, 0.0), 100.0)


class Hygrometer:
    """One Si7021; its fault is reported under its temperature."""

    def __init__(self, channel, i2c, checked):
        self.name = "temperature/%d" % channel
        self.fault = OK
        self._humidity = "humidity/%d" % channel
        self._i2c = i2c
        self._word = bytearray(3 if checked else 2)

    def prepare(self):
        """Start a measurement of humidity, which measures the temperature as well."""
        try:
            self._i2c.writeto(_ADDRESS, _MEASURE_HUMIDITY)
        except OSError:
            self.fault = ABSENT
            return 0
        self.fault = OK
        return _DURATION_MS

    def read(self):
        """Fetch the finished measurement."""
        if self.fault == ABSENT:
            return ()
        try:
            self._i2c.readfrom_into(_ADDRESS, self._word)
            humidity = self._word[0] << 8 | self._word[1]
            intact = len(self._word) == 2 or crc8(self._word, 0) == 0
            temperature = self._temperature()
            if not intact or temperature != self._temperature():
                self.fault = CRC
                return ()
        except OSError:
            self.fault = ABSENT
            return ()
        self.fault = OK
        return (
            (self.name, "Cel", celsius(temperature)),
            (self._humidity, "%RH", relative_humidity(humidity)),
        )

    def _temperature(self):
        self._i2c.writeto(_ADDRESS, _PREVIOUS_TEMPERATURE)
        word = self._i2c.readfrom(_ADDRESS, 2)
        return word[0] << 8 | word[1]


def settings(section, pin, kind):
    """Check one entry."""
    del kind  # there is one
    sda = pin(section, "sda", True, None, shared="sda")
    scl = pin(section, "scl", True, None, shared="scl")
    if (sda is None) != (scl is None):
        section.fail("scl", "both sda and scl, or neither")
    # Without pins: the bus unit of this number, on the pins that the board gives it.
    return section.channel(), sda, scl, section.integer("i2c", 0, 4, 1), section.boolean("checksum", True)


def names(chosen):
    """What it reports."""
    return "temperature/%d" % chosen[0], "humidity/%d" % chosen[0]


def open_driver(chosen, shared):
    """Take the bus."""
    channel, sda, scl, unit, checked = chosen
    key = ("i2c", sda, scl, unit)
    if key not in shared:
        shared[key] = _bus(sda, scl, unit)
    return Hygrometer(channel, shared[key], checked)


def _bus(sda, scl, unit):
    from machine import I2C, Pin, SoftI2C

    from andon_base import chip

    if sda is None:
        return I2C(unit, freq=100000)
    return SoftI2C(scl=Pin(chip.pin(scl)), sda=Pin(chip.pin(sda)), freq=100000)
