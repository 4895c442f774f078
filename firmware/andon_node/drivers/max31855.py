"""MAX31855: a thermocouple on SPI, with cold-junction compensation and wire faults (data sheet 19-5793, table 2)."""

from micropython import const

from andon_node.drivers import ABSENT, OK

OPEN = "open"
SHORT_GND = "short-gnd"
SHORT_VCC = "short-vcc"

_BAUD = const(1000000)


def fault_of(word):
    """Return `ok` or the fault of the 32 bits that the chip sends."""
    # Bits 17 and 3 are always zero: ones mean that nobody drives the line. A line that is held low reads as zeros, which
    # would be 0.00 degC at a junction of 0.0000 degC.
    if word == 0 or word & 0x20008:
        return ABSENT
    if word & 1:
        return OPEN
    if word & 2:
        return SHORT_GND
    if word & 4:
        return SHORT_VCC
    # The summary of the three bits above: alone it makes no sense.
    return ABSENT if word & 0x10000 else OK


def thermocouple_celsius(word):
    """Temperature at the tip, steps of 1/4 degC: exact in the board's 32-bit float."""
    raw = word >> 18
    return (raw - 0x4000 if raw & 0x2000 else raw) / 4


def junction_celsius(word):
    """Temperature of the chip, steps of 1/16 degC."""
    raw = word >> 4 & 0xFFF
    return (raw - 0x1000 if raw & 0x800 else raw) / 16


class Thermocouple:
    """One MAX31855."""

    def __init__(self, channel, junction_channel, spi, select):
        self.name = "temperature/%d" % channel
        self.fault = OK
        self._junction = None if junction_channel is None else "temperature/%d" % junction_channel
        self._spi = spi
        self._select = select
        self._data = bytearray(4)

    def prepare(self):
        """The chip converts by itself, ten times a second."""
        return 0

    def read(self):
        """Fetch the last conversion."""
        self._select.value(0)
        self._spi.readinto(self._data)
        self._select.value(1)
        word = int.from_bytes(self._data, "big")
        self.fault = fault_of(word)
        if self.fault != OK:
            return ()
        tip = (self.name, "Cel", thermocouple_celsius(word))
        if self._junction is None:
            return (tip,)
        return tip, (self._junction, "Cel", junction_celsius(word))


def settings(section, pin, _kind):
    """Check one entry."""
    return (
        section.channel(),
        section.optional_channel("junction_channel"),
        pin(section, "sck", True, shared="sck"),
        pin(section, "miso", False, shared="miso"),
        # The chip has no data input, but the SPI unit wants a pin for one.
        pin(section, "mosi", True, shared="mosi"),
        pin(section, "cs", True),
    )


def names(chosen):
    """What it reports."""
    return tuple("temperature/%d" % channel for channel in chosen[:2] if channel is not None)


def open_driver(chosen, shared):
    """Take the bus."""
    from machine import SPI, Pin

    channel, junction, sck, miso, mosi, cs = chosen
    key = ("spi", sck, miso)
    if key not in shared:
        shared[key] = SPI(1, baudrate=_BAUD, polarity=0, phase=0, sck=Pin(sck), mosi=Pin(mosi), miso=Pin(miso))
    return Thermocouple(channel, junction, shared[key], Pin(cs, Pin.OUT, value=1))
