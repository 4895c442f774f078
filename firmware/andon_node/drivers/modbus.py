"""Modbus RTU master: reads registers of existing meters over a UART (MODBUS over Serial Line V1.02, Application Protocol V1.1b3)."""

import asyncio
import struct
import time

from micropython import const

from andon_base import chip
from andon_node.drivers import CRC, OK
from andon_node.drivers.quantities import UNITS

TIMEOUT = "timeout"
EXCEPTION = "exception"

# Function codes [application protocol 6.3, 6.4].
_FUNCTIONS = {"holding": 3, "input": 4}
_POLL_MS = const(5)
# A meter may be busy or its answer disturbed once in a while; only what happens twice is a fault.
_TRIES = const(2)

# Type -> struct format after the words were put in order, number of registers.
_TYPES = {"int16": (">h", 1), "uint16": (">H", 1), "int32": (">i", 2), "uint32": (">I", 2), "float32": (">f", 2)}


def crc16(data):
    """CRC-16 of Modbus: x^16 + x^15 + x^2 + 1, reflected, starting at 0xFFFF [serial line 6.2.2]."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def request(unit, function, register, count):
    """The eight bytes that ask for registers."""
    body = struct.pack(">BBHH", unit, function, register, count)
    return body + struct.pack("<H", crc16(body))


def answer_length(head, count):
    """Length of an answer whose first two bytes are known: an exception has five bytes."""
    return 5 if head[1] & 0x80 else 5 + 2 * count


def check(answer, unit, function, count):
    """Return `ok` or the fault of an answer."""
    # A CRC over data with its own CRC behind is zero.
    if len(answer) < 5 or crc16(answer) != 0 or answer[0] != unit or answer[1] & 0x7F != function:
        return CRC
    if answer[1] & 0x80:
        return EXCEPTION
    return OK if answer[2] == 2 * count and len(answer) == 5 + 2 * count else CRC


def decode(data, kind, order):
    """Value of one or two registers as they came; `order` is `big` (high word first, the usual) or `little` (low word first)."""
    form, count = _TYPES[kind]
    if count == 2 and order == "little":
        data = bytes(data[2:4]) + bytes(data[:2])
    return struct.unpack(form, data)[0]


def scaled(raw, multiply, divide):
    """The value in its unit: whole where it comes out whole, so that large counts do not pass through a 32-bit float."""
    product = raw * multiply
    if isinstance(product, int) and product % divide == 0:
        return product // divide
    return product / divide


class Bus:
    """One UART with its meters; one question at a time."""

    def __init__(self, uart, direction, baud):
        """Take the UART; `direction` is the pin that switches an RS-485 driver to sending, or None."""
        self._uart = uart
        self._direction = direction
        self._turn = asyncio.Lock()
        # 3.5 characters of 11 bits are the pause between frames; above 19,200 baud it is fixed [serial line 2.5.1.1].
        self._pause_ms = max(2, 38500 // baud + 1)

    async def ask(self, unit, function, register, count, timeout_ms):
        """Return the answer's bytes, as far as they came in time."""
        async with self._turn:
            await asyncio.sleep_ms(self._pause_ms)
            # What came before the question belongs to no answer.
            while self._uart.any():
                self._uart.read(self._uart.any())
            self._send(request(unit, function, register, count))
            answer = bytearray()
            until = time.ticks_add(time.ticks_ms(), timeout_ms)
            while time.ticks_diff(until, time.ticks_ms()) > 0:
                waiting = self._uart.any()
                if waiting:
                    answer.extend(self._uart.read(waiting))
                    if len(answer) >= 2 and len(answer) >= answer_length(answer, count):
                        break
                await asyncio.sleep_ms(_POLL_MS)
            return answer

    def _send(self, frame):
        if self._direction is not None:
            self._direction.value(1)
        self._uart.write(frame)
        if self._direction is not None:
            self._uart.flush()
            self._direction.value(0)


class Register:
    """One value of a meter."""

    def __init__(self, chosen):
        quantity, channel, self.register, table, self.kind, self.order, self.multiply, self.divide = chosen
        self.name = "%s/%d" % (quantity, channel)
        self.unit = UNITS[quantity]
        self.function = _FUNCTIONS[table]
        self.count = _TYPES[self.kind][1]


class Meter:
    """One meter; its fault is the first one that a round of questions met, reported under its first value."""

    def __init__(self, bus, unit, registers, poll_ms, timeout_ms):
        self.name = registers[0].name
        self.fault = OK
        self._bus = bus
        self._unit = unit
        self._registers = registers
        self._poll_ms = poll_ms
        self._timeout_ms = timeout_ms
        self._news = []

    def prepare(self):
        """Nothing to start: the meter is asked at its own pace."""
        return 0

    def read(self):
        """What the last round brought, once."""
        news = self._news
        self._news = []
        return news

    async def run(self, report):
        """Ask for ever."""
        while True:
            await self.ask_all()
            report(self)
            await asyncio.sleep_ms(self._poll_ms)

    async def ask_all(self):
        """Ask for every value once."""
        fault = OK
        for register in self._registers:
            for _ in range(_TRIES):
                problem = await self._ask(register)
                if problem == OK:
                    break
            if problem != OK and fault == OK:
                print("modbus: unit %d, %s, register %d: %s" % (self._unit, register.name, register.register, problem))
                fault = problem
        self.fault = fault

    async def _ask(self, register):
        answer = await self._bus.ask(self._unit, register.function, register.register, register.count, self._timeout_ms)
        if len(answer) < 2:
            return TIMEOUT
        problem = check(answer, self._unit, register.function, register.count)
        if problem == OK:
            raw = decode(memoryview(answer)[3 : 3 + 2 * register.count], register.kind, register.order)
            if raw != raw or raw in (float("inf"), float("-inf")):  # noqa: PLR0124 - not a number is unlike itself
                return EXCEPTION
            self._news.append((register.name, register.unit, scaled(raw, register.multiply, register.divide)))
        return problem


def settings(section, pin, _kind):
    """Check one entry."""
    registers = []
    for item in section.sections("registers"):
        registers.append(
            (
                item.choice("quantity", tuple(sorted(UNITS)), "power"),
                item.channel(),
                item.integer("register", 0, 0xFFFF, item.REQUIRED),
                item.choice("table", ("holding", "input"), "holding"),
                item.choice("type", tuple(sorted(_TYPES)), "uint16"),
                item.choice("order", ("big", "little"), "big"),
                item.integer("multiply", 1, 1000000000, 1),
                item.integer("divide", 1, 1000000000, 1),
            ),
        )
        item.close()
    if not registers:
        section.fail("registers", "at least one register")
    return (
        section.integer("uart", 0, 2, 1),
        section.integer("baud", 300, 115200, 9600),
        section.choice("parity", ("none", "even", "odd"), "even"),
        _pins(section, pin),
        pin(section, "de", True, None, shared="de"),
        section.integer("unit", 1, 247, 1),
        section.integer("poll_ms", 100, 3600000, 10000),
        section.integer("timeout_ms", 10, 5000, 500),
        registers,
    )


def _pins(section, pin):
    tx = pin(section, "tx", True, None, shared="tx")
    rx = pin(section, "rx", False, None, shared="rx")
    if (tx is None) != (rx is None):
        section.fail("rx", "both tx and rx, or neither")
    return tx, rx


def names(chosen):
    """What it reports."""
    return ["%s/%d" % register[:2] for register in chosen[-1]]


def open_driver(chosen, shared):
    """Take the UART."""
    from machine import Pin

    number, baud, parity, (tx, rx), de, unit, poll_ms, timeout_ms, registers = chosen
    key = ("uart", number)
    if key not in shared:
        # No parity means two stop bits: a character always has 11 bits [serial line 2.5.1].
        stop = 2 if parity == "none" else 1
        bit = {"none": None, "even": 0, "odd": 1}[parity]
        uart = chip.uart(number, baud, tx, rx, bits=8, parity=bit, stop=stop)
        shared[key] = Bus(uart, None if de is None else Pin(chip.pin(de), Pin.OUT, value=0), baud)
    return Meter(shared[key], unit, [Register(register) for register in registers], poll_ms, timeout_ms)
