"""The board's side of the register file (docs/emulation.md): pins and sensors as bytes shared with the world model."""

import struct

import utime
from micropython import const

SIZE = 262144
VERSION = 1

_STARTS = const(12)
_INTERRUPTS_REQUESTED = const(48)
_INTERRUPTIBLE = const(52)
_INTERRUPTS_HANDLED = const(56)
_WATCHDOG = const(16)
_GPIO = const(64)
_SENSOR = const(4096)
_LOG = const(8192)
_EDGES = const(65536)
_I2C = const(5120)
_SPI = const(5632)
_ADC = const(5888)
_MODBUS = const(6400)
_I2C_LOG = const(40960)
_SPI_LOG = const(163840)

RING = 256
SENSORS = 8
I2C_DEVICES = 8
I2C_LOG = 128
SPI_DEVICES = 4
MODBUS_SLAVES = 2

_CLOCK_MONOTONIC = const(1)
# The greatest number that ticks reach where words have 32 bits.
_SHORT_TICKS = const(0x3FFFFFFF)

_file = None
_clock_gettime = None
_b1 = bytearray(1)
_b2 = bytearray(2)
_b4 = bytearray(4)
_b8 = bytearray(8)
_b16 = bytearray(16)


def attach(path):
    """Open the register file and count this start of the board."""
    global _file, _clock_gettime
    _file = open(path, "r+b")
    if utime.ticks_add(0, -1) == _SHORT_TICKS:
        _clock_gettime = __import__("ffi").open("libc.so.6").func("i", "clock_gettime", "ip")
    head = _file.read(6)
    if head[:4] != b"ANDR" or len(head) < 6 or struct.unpack_from("<H", head, 4)[0] != VERSION:
        raise OSError("%s: no register file of version %d; let the world model make it first" % (path, VERSION))
    _put_u32(_STARTS, _u32(_STARTS) + 1)
    set_watchdog(0)


def now_us():
    """Microseconds of the host's CLOCK_MONOTONIC: the ticks, unless words of 32 bits make them begin anew after 18 minutes."""
    if _clock_gettime is None:
        return utime.ticks_us()
    _clock_gettime(_CLOCK_MONOTONIC, _b8)
    seconds, nanoseconds = struct.unpack_from("<ii", _b8)
    return seconds * 1000000 + nanoseconds // 1000


def _read(offset, buffer):
    _file.seek(offset)
    _file.readinto(buffer)
    return buffer


def _write(offset, buffer):
    _file.seek(offset)
    _file.write(buffer)


def _u8(offset):
    return _read(offset, _b1)[0]


def _put_u8(offset, value):
    _b1[0] = value
    _write(offset, _b1)


def _u32(offset):
    return struct.unpack_from("<I", _read(offset, _b4))[0]


def _put_u32(offset, value):
    struct.pack_into("<I", _b4, 0, value & 0xFFFFFFFF)
    _write(offset, _b4)


def set_watchdog(deadline_us):
    """Publish when the watchdog bites unless it is fed before; 0: it is not armed."""
    struct.pack_into("<Q", _b8, 0, deadline_us)
    _write(_WATCHDOG, _b8)


def interrupts_requested():
    """How many Ctrl-C the console's line has brought to a running program (u32, wraps)."""
    return _u32(_INTERRUPTS_REQUESTED)


def set_interrupts_handled(count):
    """Publish how many of them the board has seen."""
    _put_u32(_INTERRUPTS_HANDLED, count)


def set_interruptible(state):
    """Publish whether Ctrl-C interrupts (1) or is a character for the console (0)."""
    _put_u8(_INTERRUPTIBLE, state)


def wifi_reachable():
    """Whether the access point is within reach."""
    return _u8(8) == 1


def rssi():
    """Signal strength in dBm."""
    value = _u8(9)
    return value - 256 if value > 127 else value


def input_level(gpio):
    """The level the world drives on a pin."""
    return _u8(_GPIO + 64 * gpio)


def output_level(gpio):
    """The level the board drives on a pin."""
    return _u8(_GPIO + 64 * gpio + 1)


def set_mode(gpio, mode):
    """Publish a pin's mode: 0 not set up, 1 input, 2 output, 3 open drain."""
    _put_u8(_GPIO + 64 * gpio + 2, mode)


def drive(gpio, level, now_us):
    """Drive a pin; a change of level is counted with its time."""
    base = _GPIO + 64 * gpio
    if _u8(base + 1) == level:
        return
    struct.pack_into("<Q", _b8, 0, now_us)
    _write(base + 8, _b8)
    _put_u8(base + 1, level)
    _put_u32(base + 4, _u32(base + 4) + 1)


def edge_count(gpio):
    """How many edges the world ever published on a pin (u32, wraps)."""
    offset = _GPIO + 64 * gpio + 16
    count = _u32(offset)
    while True:
        # The world may have been in the middle of a store: believe a value that stands twice.
        again = _u32(offset)
        if again == count:
            return count
        count = again


def edge(gpio, number):
    """Edge `number` of a pin: time in microseconds << 1 | level after the edge."""
    return struct.unpack_from("<Q", _read(_EDGES + 2048 * gpio + 8 * (number % RING), _b8))[0]


def sensors_on(gpio):
    """Numbers of the connected sensors on a bus."""
    found = []
    for number in range(SENSORS):
        _read(_SENSOR + 128 * number, _b4)
        if _b4[0] == gpio and _b4[1] == 1:
            found.append(number)
    return found


def brown_outs(sensor):
    """How often a sensor lost its supply so far (u8, wraps)."""
    return _u8(_SENSOR + 128 * sensor + 2)


def temperature(sensor):
    """A sensor's true temperature in 1/16 degC."""
    return struct.unpack_from("<h", _read(_SENSOR + 128 * sensor, _b8), 4)[0]


def rom(sensor):
    """A sensor's 8-byte ROM code."""
    return bytes(_read(_SENSOR + 128 * sensor + 8, _b8))


def count_conversion(sensor):
    """Count a started conversion."""
    offset = _SENSOR + 128 * sensor + 68
    _put_u32(offset, _u32(offset) + 1)


def log_read(sensor, now_us, raw, converted):
    """Log one delivered scratchpad read; return whether it is to be delivered clean (without a flipped bit)."""
    base = _SENSOR + 128 * sensor
    number = _u32(base + 64)
    clean = number >= _u32(base + 16)
    struct.pack_into("<QhBBI", _b16, 0, now_us, raw, clean, converted, 0)
    _write(_LOG + 4096 * sensor + 16 * (number % RING), _b16)
    _put_u32(base + 64, number + 1)
    return clean


def i2c_device(gpio_sda, address):
    """Number and kind of the connected I2C device at an address, or None."""
    for number in range(I2C_DEVICES):
        _read(_I2C + 64 * number, _b4)
        if _b4[0] and _b4[1] == gpio_sda and _b4[2] == address and _b4[3]:
            return number, _b4[0]
    return None


def i2c_words(device):
    """The two words that an I2C device measures now."""
    return struct.unpack_from("<HH", _read(_I2C + 64 * device + 4, _b4))


def log_i2c(device, now_us, words):
    """Log one delivered measurement; return whether it is to be delivered clean."""
    base = _I2C + 64 * device
    number = _u32(base + 32)
    clean = number >= _u32(base + 8)
    struct.pack_into("<QHHB", _b16, 0, now_us, words[0], words[1], clean)
    _write(_I2C_LOG + 2048 * device + 16 * (number % I2C_LOG), _b16)
    _put_u32(base + 32, number + 1)
    return clean


def spi_device(gpio_miso):
    """Number of the connected SPI device whose select pin is low, or None."""
    for number in range(SPI_DEVICES):
        _read(_SPI + 64 * number, _b4)
        # A select line that nobody drives is pulled up.
        wired = _b4[0] and _b4[1] == gpio_miso and _b4[3]
        if wired and _read(_GPIO + 64 * _b4[2] + 1, _b2) == b"\x00\x02":
            return number
    return None


def spi_word(device, now_us):
    """The word that an SPI device sends, logged."""
    base = _SPI + 64 * device
    word = _u32(base + 4)
    number = _u32(base + 32)
    struct.pack_into("<QII", _b16, 0, now_us, word, 0)
    _write(_SPI_LOG + 4096 * device + 16 * (number % RING), _b16)
    _put_u32(base + 32, number + 1)
    return word


def microvolts(gpio):
    """Voltage at a pin."""
    return _u32(_ADC + 8 * gpio)


def modbus_slave(uart, unit):
    """(offset, disturbance) of the Modbus slave with this address on a UART, or None."""
    for number in range(MODBUS_SLAVES):
        base = _MODBUS + 512 * number
        _read(base, _b4)
        if _b4[0] and _b4[1] == uart and _b4[2] == unit:
            return base, _b4[3]
    return None


def modbus_word(base, table, register):
    """One register of a slave: table 3 holding, 4 input."""
    return struct.unpack_from("<H", _read(base + (16 if table == 3 else 256) + 2 * register, _b4))[0]


def count_modbus(base):
    """Count an answered request."""
    _put_u32(base + 8, _u32(base + 8) + 1)
