"""`machine.SPI` on the unix port: the word of the register file's device whose select pin is low."""

import registers


class SPI:
    """A bus, known by its input pin."""

    def __init__(self, id=-1, baudrate=1000000, *, polarity=0, phase=0, sck=None, mosi=None, miso=None):  # noqa: A002, ARG002 - MicroPython's signature
        self._miso = miso.gpio

    def readinto(self, buf, write=0x00):  # noqa: ARG002 - MicroPython's signature
        """Clock bytes in, the device's most significant first; a line that nobody drives is pulled up."""
        device = registers.spi_device(self._miso)
        word = 0xFFFFFFFF if device is None else registers.spi_word(device, registers.now_us())
        for index in range(len(buf)):
            buf[index] = word >> (24 - 8 * index) & 0xFF if index < 4 else 0xFF


SoftSPI = SPI
