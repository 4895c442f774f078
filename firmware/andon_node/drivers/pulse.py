"""Pulse inputs: cycles counted since the start of the node."""

import time

from machine import Pin
from micropython import const

from andon_base import chip
from andon_node.drivers import OK

# What the ESP32's glitch filter can do at most: 1023 periods of its 80 MHz clock.
_FILTER_NS = const(12800)
_FILTER_CLOCKS = const(1023)
# A PCNT unit starts again at zero when it reaches its limit; a multiple of nothing else, so it is its period.
_PCNT_LIMIT = const(32000)

# ticks_us can measure at most half its period: 2^29 us, nine minutes, on the ESP32.
_LONG_QUIET_US = const(1 << 27)


class Debouncer:
    """Accepts an edge as a pulse when it goes active and the line had been quiet for a while before it."""

    def __init__(self, active_level, debounce_us, now_us):
        self.pulses = 0
        self._active_level = active_level
        self._debounce_us = debounce_us
        self._last_us = time.ticks_add(now_us, -debounce_us)

    def edge(self, at_us, level):
        """Take an edge and the level after it."""
        quiet_us = time.ticks_diff(at_us, self._last_us)
        self._last_us = at_us
        if level == self._active_level and quiet_us >= self._debounce_us:
            self.pulses += 1

    def keep_up(self, now_us):
        """Keep the last edge within reach of the ticks on a line that is quiet for long; call once a minute or more."""
        if time.ticks_diff(now_us, self._last_us) > _LONG_QUIET_US:
            self._last_us = time.ticks_add(now_us, -_LONG_QUIET_US // 2)


class Counter:
    """What all counters have in common."""

    def __init__(self, channel):
        self.channel = channel
        self.name = "cycles/%d" % channel
        self.fault = OK

    def total(self):
        """Pulses since the start, as each kind counts them."""
        raise NotImplementedError

    def prepare(self):
        """Nothing to start."""
        return 0

    def keep_up(self):
        """Between samples that are far apart: count on, before ticks or a counter begin again."""
        self.total()

    def read(self):
        """The count now."""
        return ((self.name, "count", self.total()),)


class ContactCounter(Counter):
    """Counts a mechanical contact that bounces for milliseconds."""

    def __init__(self, channel, gpio, active_high, debounce_ms):
        super().__init__(channel)
        self._pin = Pin(chip.pin(gpio), Pin.IN)
        self._debouncer = Debouncer(1 if active_high else 0, debounce_ms * 1000, time.ticks_us())
        self._pin.irq(self._on_edge, Pin.IRQ_RISING | Pin.IRQ_FALLING)

    def _on_edge(self, pin):
        self._debouncer.edge(time.ticks_us(), pin.value())

    def total(self):
        """Pulses since the start."""
        self._debouncer.keep_up(time.ticks_us())
        return self._debouncer.pulses


class HardwareCounter(Counter):
    """Counts a clean electronic signal in the chip's pulse counter, whose filter drops glitches below 12.8 us."""

    def __init__(self, channel, gpio, active_high, unit):
        from machine import Counter as Unit

        super().__init__(channel)
        edge = Unit.RISING if active_high else Unit.FALLING
        self._counter = Unit(unit, Pin(chip.pin(gpio), Pin.IN), edge=edge, filter_ns=_FILTER_NS)

    def total(self):
        """Pulses since the start; MicroPython carries the hardware's 16 bits on."""
        return self._counter.value()


class UnitCounter(Counter):
    """The same on a MicroPython without `machine.Counter`: the bare PCNT unit, its wrap carried on by us."""

    def __init__(self, channel, gpio, active_high, unit):
        from esp32 import PCNT

        super().__init__(channel)
        self._unit = PCNT(unit, pin=Pin(chip.pin(gpio), Pin.IN), filter=_FILTER_CLOCKS, max=_PCNT_LIMIT)
        if active_high:
            self._unit.init(rising=PCNT.INCREMENT)
        else:
            self._unit.init(falling=PCNT.INCREMENT)
        self._unit.start()
        self._last = self._unit.value()
        self._total = 0

    def total(self):
        """Pulses since the start; to be asked at least once per 32,000 pulses."""
        value = self._unit.value()
        self._total += (value - self._last) % _PCNT_LIMIT
        self._last = value
        return self._total


def electronic_counter(channel, gpio, active_high, unit):
    """Return the best counter for a clean signal that this board has."""
    for kind in (HardwareCounter, UnitCounter):
        try:
            return kind(channel, gpio, active_high, unit)
        except ImportError:
            pass
    # No pulse counter in this chip (ESP32-C3): interrupts, without a pause between pulses.
    return ContactCounter(channel, gpio, active_high, 0)
