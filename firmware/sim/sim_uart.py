"""`machine.UART` on the unix port: bytes of a pty (board.py --uart), or else the Modbus slaves of the register file."""

import select
import struct
import termios

import machine
import registers


def _crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


class _Pty:
    """One end of a cable; a peer that hangs up is silence."""

    _READABLE = 64
    _VMIN = 6

    def __init__(self, file):
        self._file = file
        termios.setraw(file.fileno())
        # A read takes what is there and does not wait for more.
        mode = termios.tcgetattr(file.fileno())
        mode[6][self._VMIN] = 0
        termios.tcsetattr(file.fileno(), termios.TCSANOW, mode)
        self._poller = select.poll()
        self._poller.register(self._file, select.POLLIN)

    def any(self):
        """A guess, if there is anything: a pty does not tell how much."""
        for _, event in self._poller.poll(0):
            return self._READABLE if event & select.POLLIN else 0
        return 0

    def readinto(self, buf):
        """Read what is there."""
        try:
            return self._file.readinto(buf)
        except OSError:
            return None

    def write(self, data):
        """Write; bytes into a cable whose other end is gone are lost."""
        try:
            return self._file.write(data)
        except OSError:
            return len(data)


class _ModbusLine:
    """The register file's slaves on one UART, each request one `write`."""

    _CUT, _SILENT, _BAD_CRC, _NOISE, _BUSY = 5, 1, 2, 3, 4

    def __init__(self, uart):
        self._uart = uart
        self._answer = b""

    def any(self):
        return len(self._answer)

    def readinto(self, buf):
        size = min(len(buf), len(self._answer))
        buf[:size] = self._answer[:size]
        self._answer = self._answer[size:]
        return size

    def write(self, data):
        if len(data) == 8 and _crc16(data[:6]) == bytes(data[6:]):
            unit, function, register, count = struct.unpack(">BBHH", data[:6])
            slave = registers.modbus_slave(self._uart, unit)
            if slave is not None and slave[1] != self._SILENT:
                self._answer += self._reply(slave, unit, function, register, count)
        return len(data)

    def _reply(self, slave, unit, function, register, count):
        base, disturbance = slave
        if disturbance == self._BUSY:
            body = bytes((unit, function | 0x80, 6))
        elif function not in (3, 4):
            body = bytes((unit, function | 0x80, 1))
        elif register + count > 100 or not 1 <= count <= 125:
            body = bytes((unit, function | 0x80, 2))
        else:
            words = [registers.modbus_word(base, function, register + index) for index in range(count)]
            body = struct.pack(">BBB", unit, function, 2 * count) + b"".join(struct.pack(">H", word) for word in words)
        registers.count_modbus(base)
        answer = bytearray(body + _crc16(body))
        if disturbance == self._BAD_CRC:
            answer[-1] ^= 0x01
        elif disturbance == self._NOISE:
            answer[:0] = b"\x00\x55"
        elif disturbance == self._CUT:
            return bytes(answer[:-3])
        return bytes(answer)


class UART:
    """UART 0 to 2."""

    def __init__(self, id, baudrate=9600, *, bits=8, parity=None, stop=1, rxbuf=256, txbuf=256):  # noqa: A002, ARG002 - MicroPython's signature
        if not 0 <= id < 3:
            raise ValueError("UART(%d) doesn't exist" % id)
        self._line = _Pty(machine.uarts[id]) if id in machine.uarts else _ModbusLine(id)

    def init(self, baudrate=9600, *, bits=8, parity=None, stop=1, tx=None, rx=None):
        """Accept other settings; a pty has none."""

    def any(self):
        """Bytes that can be read without waiting."""
        return self._line.any()

    def readinto(self, buf, nbytes=None):
        """Read at most what is there."""
        return self._line.readinto(buf if nbytes is None else memoryview(buf)[:nbytes])

    def read(self, nbytes):
        """The same into a new buffer."""
        buf = bytearray(nbytes)
        size = self._line.readinto(buf)
        return bytes(buf[:size]) if size else None

    def write(self, buf):
        """Send."""
        return self._line.write(buf)

    def flush(self):
        """Everything is sent at once here."""
