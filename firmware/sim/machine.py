"""`machine` of an ESP32 on the unix port (of an STM32: sim_stm32.py): pins, pulse counter, watchdog and reset, acting on the register file."""

import sys
import time

import interrupts
import registers
import sim_parts
import utime

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

# docs/emulation.md: whoever supervises the process starts it again on this exit status.
EXIT_RESET = 75

# Where the bytes of a UART go, set by board.py: number -> open pty.
uarts = {}

# Parts that few firmwares use, each in a file of its own that is loaded when it is first asked for.
_PARTS = {
    "ADC": "sim_adc",
    "SoftI2C": "sim_i2c",
    "I2C": "sim_i2c",
    "SPI": "sim_spi",
    "SoftSPI": "sim_spi",
    "UART": "sim_uart",
}

# Whose peripherals these are; sim_stm32.py changes it.
family = "esp32"

_cause = PWRON_RESET
_id = b"\x00\x00\x00\x00\x00\x00"
# Path of the flash image and the file system that it is on; the other partitions of the chip are beside it.
flash_image = None


def power_on(cause, board_id):
    """Set what this start looks like to the firmware."""
    global _cause, _id
    _cause = cause
    _id = board_id


def keep_cause(cause, mode=0):
    """Leave the cause of a reset, and the mode of the REPL that asked for it, to the next start."""
    if flash_image is not None:
        path, host = flash_image
        with host.open(path + ".reset", "w") as kept:
            kept.write("%d %d" % (cause, mode))


def _reset(cause):
    keep_cause(cause)
    sys.exit(EXIT_RESET)


def reset():
    """Restart the board."""
    _reset(HARD_RESET)


def soft_reset():
    """Restart the board; the sim makes no difference between soft and hard."""
    _reset(SOFT_RESET)


def reset_cause():
    """Why the board started."""
    return _cause


def unique_id():
    """The board's MAC address."""
    return _id


def freq(*_args):
    """CPU clock in Hz."""
    return 160000000


def idle():
    """Wait for an interrupt."""
    utime.sleep_ms(1)
    interrupts.deliver()


def disable_irq():
    """Handlers run only when ticks are read, so nothing has to be held back."""
    return 0


def enable_irq(_state=0):
    """See disable_irq."""


def __getattr__(name):
    if name not in _PARTS:
        # What `from machine import ...` raises on a chip that has no such part.
        raise ImportError("can't import name " + name)
    return getattr(sim_parts.load(_PARTS[name]), name)


class Pin:
    """GPIO pin 0..47 of the register file."""

    IN = 1
    OUT = 2
    OPEN_DRAIN = 3
    PULL_UP = 2
    PULL_DOWN = 1
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=0, hold=None):  # noqa: A002, ARG002 - MicroPython's signature
        if not isinstance(id, int) or not 0 <= id < 48:
            raise ValueError("invalid pin")
        self.gpio = id
        self._mode = 0
        self._source = None
        self._handler = None
        self._trigger = 0
        self._edge_level = None
        self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=0, hold=None):  # noqa: ARG002 - MicroPython's signature
        """Set the pin up; the level is driven before the direction, as the hardware does it."""
        if value is not None:
            registers.drive(self.gpio, 1 if value else 0, registers.now_us())
        if mode != -1:
            self._mode = mode
            registers.set_mode(self.gpio, mode)

    def value(self, level=None):
        """Read or drive the pin."""
        if level is not None:
            registers.drive(self.gpio, 1 if level else 0, registers.now_us())
            return None
        if self._mode == Pin.OUT:
            return registers.output_level(self.gpio)
        # Inside a handler the pin reads the level of its edge, whatever the world has done since.
        return registers.input_level(self.gpio) if self._edge_level is None else self._edge_level

    __call__ = value

    def on(self):
        """Drive high."""
        self.value(1)

    def off(self):
        """Drive low."""
        self.value(0)

    def irq(self, handler=None, trigger=IRQ_FALLING | IRQ_RISING, hard=False):  # noqa: ARG002 - MicroPython's signature
        """Call `handler(pin)` at edges from now on; None stops it."""
        if self._source is not None:
            interrupts.disconnect(self._source)
            self._source = None
        self._handler = handler
        self._trigger = trigger
        if handler is not None:
            self._source = interrupts.EdgeSource(self.gpio, self._on_edge)
            interrupts.connect(self._source)
        return self

    def _on_edge(self, time_us, level):
        if not self._trigger & (Pin.IRQ_RISING if level else Pin.IRQ_FALLING):
            return
        time.at_edge(time_us)
        self._edge_level = level
        try:
            self._handler(self)
        finally:
            self._edge_level = None
            time.at_edge(None)


class Counter:
    """Pulse counter; the glitch filter is the world's, which publishes only edges that pass it."""

    RISING = 1
    FALLING = 2
    UP = 1
    DOWN = 2

    def __init__(self, id, src=None, **options):  # noqa: A002 - MicroPython's signature
        if not 0 <= id < 8:
            raise ValueError("no such counter")
        self._source = None
        self._count = 0
        self.init(src, **options)

    def init(self, src, *, edge=RISING, direction=UP, filter_ns=0):  # noqa: ARG002 - MicroPython's signature
        """Start counting at zero."""
        self.deinit()
        self._edge = edge
        self._step = -1 if direction == Counter.DOWN else 1
        self._count = 0
        self._source = interrupts.EdgeSource(src.gpio, self._on_edge)
        interrupts.connect(self._source)

    def deinit(self):
        """Stop counting."""
        if self._source is not None:
            interrupts.disconnect(self._source)
            self._source = None

    def _on_edge(self, _time_us, level):
        if level == (1 if self._edge == Counter.RISING else 0):
            self._count += self._step

    def value(self, value=None):
        """The count so far; optionally set it."""
        interrupts.deliver()
        count = self._count
        if value is not None:
            self._count = value
        return count


# How often at least a board must have read ticks in vain before its watchdog bites.
_WDT_LOOKS = 6


class WDT:
    """The one watchdog: bites (exit status 75) when ticks are read later than `timeout` ms after the last feed.

    Of the time between two readings of ticks only a part counts: the host may have kept the process from running, on the soak's fast
    clock for many seconds. A board that hangs without reading ticks cannot bite itself; its deadline is in the register file for whoever
    supervises it.
    """

    _armed = None

    def __new__(cls, id=0, timeout=5000):  # noqa: A002, ARG004 - MicroPython's signature
        """Like the hardware: there is one, and asking for it again sets its time anew."""
        if cls._armed is None:
            cls._armed = object.__new__(cls)
            interrupts.connect(cls._armed)
        cls._timeout = timeout
        cls._armed.feed()
        return cls._armed

    def feed(self):
        """Put the bite off."""
        self._seen = utime.ticks_ms()
        self._hungry = 0
        registers.set_watchdog(registers.now_us() + 1000 * self._timeout)

    def deliver(self):
        """Bite when starved."""
        now = utime.ticks_ms()
        self._hungry += min(utime.ticks_diff(now, self._seen), self._timeout // _WDT_LOOKS)
        self._seen = now
        if self._hungry > self._timeout:
            _reset(WDT_RESET)


_timers = {}


class Timer:
    """Calls back when ticks are read after its time."""

    ONE_SHOT = 0
    PERIODIC = 1

    _callback = None

    def __new__(cls, id=-1, **options):  # noqa: A002, ARG004 - MicroPython's signature
        """A hardware timer is there once; asking for it again gives the same one."""
        if id < 0:
            return object.__new__(cls)
        if id not in _timers:
            _timers[id] = object.__new__(cls)
        return _timers[id]

    def __init__(self, id=-1, **options):  # noqa: A002, ARG002 - MicroPython's signature
        if options:
            self.init(**options)

    def init(self, *, mode=PERIODIC, period=-1, callback=None):
        """(Re-)start."""
        self.deinit()
        self._mode = mode
        self._period = period
        self._callback = callback
        self._due = utime.ticks_add(utime.ticks_ms(), period)
        interrupts.connect(self)

    def deinit(self):
        """Stop."""
        if self._callback is not None:
            self._callback = None
            interrupts.disconnect(self)

    def deliver(self):
        """Call back when due."""
        if utime.ticks_diff(utime.ticks_ms(), self._due) < 0:
            return
        callback = self._callback
        if self._mode == Timer.PERIODIC:
            self._due = utime.ticks_add(utime.ticks_ms(), self._period)
        else:
            self.deinit()
        callback(self)
