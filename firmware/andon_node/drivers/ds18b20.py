"""DS18B20 thermometers on a 1-wire bus, with every reading checked by us (data sheet: Maxim DS18B20)."""

from micropython import const

from andon_node.drivers import ABSENT, CRC, OK, RANGE

# 750 ms at most by the data sheet, and a little more: a timer in whole milliseconds may end one early.
CONVERSION_MS = 755
_TRIES = const(3)

_CONVERT = const(0x44)
_READ_SCRATCHPAD = const(0xBE)

_POWER_ON_RAW = const(85 * 16)
# Byte 6 of the scratchpad until the first conversion. A conversion sets it to 0x10 minus the low four bits, which is
# 0x10 at a true 85.0 degC, so the two are told apart.
_POWER_ON_SIGNATURE = const(0x0C)
_MIN_RAW = const(-55 * 16)
_MAX_RAW = const(125 * 16)

_FAMILY = const(0x28)

POWER_ON = "power-on"


def crc8(data):
    """Maxim's CRC-8 (x^8 + x^5 + x^4 + 1, reflected); 0 over data that ends with its own CRC."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8C if crc & 1 else crc >> 1
    return crc


def check(scratchpad):
    """Return `ok` or the fault of a 9-byte scratchpad."""
    # The configuration register's low five bits read as ones and bit 7 as zero. A bus that is shorted to ground reads
    # as zeros, whose CRC is right.
    if crc8(scratchpad) != 0 or scratchpad[4] & 0x9F != 0x1F:
        return CRC
    raw = raw_temperature(scratchpad)
    if raw == _POWER_ON_RAW and scratchpad[6] == _POWER_ON_SIGNATURE:
        return POWER_ON
    if not _MIN_RAW <= raw <= _MAX_RAW:
        return RANGE
    return OK


def raw_temperature(scratchpad):
    """Signed temperature in 1/16 degC."""
    raw = scratchpad[1] << 8 | scratchpad[0]
    return raw - 0x10000 if raw & 0x8000 else raw


class Bus:
    """One 1-wire bus with its thermometers."""

    def __init__(self, wire):
        """Take the bus; `wire` is a MicroPython `onewire.OneWire`."""
        self.wire = wire
        # The thermometer whose turn starts the conversion for all.
        self.first = None

    def convert(self):
        """Start a conversion in all thermometers at once; it takes CONVERSION_MS."""
        if self.wire.reset():
            self.wire.writebyte(self.wire.SKIP_ROM)
            self.wire.writebyte(_CONVERT)

    def first_thermometer(self):
        """Return the ROM code of the first thermometer found, or None."""
        for rom in self.wire.scan():
            if rom[0] == _FAMILY and crc8(rom) == 0:
                return rom
        return None


class Thermometer:
    """One DS18B20: its last good reading and its fault.

    Attributes:
        celsius: Last good temperature, None before the first.
        fault: `ok` or why the last reading failed.
    """

    def __init__(self, channel, bus, rom):
        """Watch the thermometer with this ROM code, or with None the first one on the bus."""
        self.channel = channel
        self.name = "temperature/%d" % channel
        self.celsius = None
        self.fault = OK
        self.crc_errors = 0
        self.bus = bus
        if bus.first is None:
            bus.first = self
        self._configured_rom = rom
        self._rom = rom
        self._scratchpad = bytearray(9)

    def prepare(self):
        """Start a conversion, once for all thermometers of a bus."""
        if self.bus.first is self:
            self.bus.convert()
        return CONVERSION_MS

    def read(self):
        """Read the finished conversion; set `celsius` and return it, or set `fault` and return nothing."""
        for _ in range(_TRIES):
            self.fault = self._read_once()
            self.crc_errors += self.fault == CRC
            if self.fault == OK:
                # A sixteenth of an integer of 12 bits is exact in the board's 32-bit float.
                self.celsius = raw_temperature(self._scratchpad) / 16
                return ((self.name, "Cel", self.celsius),)
        return ()

    def _read_once(self):
        wire = self.bus.wire
        if self._rom is None:
            self._rom = self.bus.first_thermometer()
            if self._rom is None:
                return ABSENT
        if not wire.reset():
            # Another one may be plugged in instead, where the configuration does not say which it must be.
            self._rom = self._configured_rom
            return ABSENT
        wire.select_rom(self._rom)
        wire.writebyte(_READ_SCRATCHPAD)
        wire.readinto(self._scratchpad)
        if all(byte == 0xFF for byte in self._scratchpad):
            self._rom = self._configured_rom
            return ABSENT
        return check(self._scratchpad)
