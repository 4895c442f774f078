"""`ds18x20` on the unix port: the interface of MicroPython's module over the sim's bus."""


class DS18X20:
    """DS18B20 sensors on a bus."""

    def __init__(self, onewire):
        self.ow = onewire
        self.buf = bytearray(9)

    def scan(self):
        """ROM codes of the thermometers."""
        return [rom for rom in self.ow.scan() if rom[0] in (0x10, 0x22, 0x28)]

    def convert_temp(self):
        """Start a conversion on all sensors."""
        self.ow.reset(True)
        self.ow.writebyte(self.ow.SKIP_ROM)
        self.ow.writebyte(0x44)

    def read_scratch(self, rom):
        """The checked scratchpad."""
        self.ow.reset(True)
        self.ow.select_rom(rom)
        self.ow.writebyte(0xBE)
        self.ow.readinto(self.buf)
        if self.ow.crc8(self.buf):
            raise Exception("CRC error")  # noqa: TRY002 - MicroPython's module raises just this
        return self.buf

    def read_temp(self, rom):
        """Temperature in degC."""
        buf = self.read_scratch(rom)
        raw = buf[1] << 8 | buf[0]
        return (raw - 65536 if raw > 32767 else raw) / 16
