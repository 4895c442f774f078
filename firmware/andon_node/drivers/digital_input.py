"""Digital inputs such as a run signal or a door contact: debounced, reported on change and with every sample."""

import asyncio
import time

from machine import Pin
from micropython import const

from andon_base import chip
from andon_node.drivers import OK

_POLL_MS = const(10)


class Settled:
    """A level counts once it has stayed the same for a while."""

    def __init__(self, level, settle_ms, now_ms):
        self.level = level
        self._candidate = level
        self._since_ms = now_ms
        self._settle_ms = settle_ms

    def take(self, level, now_ms):
        """Take the level seen now; return whether the settled level changed."""
        if level != self._candidate:
            self._candidate = level
            self._since_ms = now_ms
        if level == self.level or time.ticks_diff(now_ms, self._since_ms) < self._settle_ms:
            return False
        self.level = level
        return True


class DigitalInput:
    """One input."""

    def __init__(self, channel, gpio, active_high, debounce_ms, pull):
        self.name = "input/%d" % channel
        self.fault = OK
        self._active = 1 if active_high else 0
        self._pin = Pin(chip.pin(gpio), Pin.IN, {"none": None, "up": Pin.PULL_UP, "down": Pin.PULL_DOWN}[pull])  # type: ignore[arg-type]  # None is no resistor; the stub does not know it
        self._settled = Settled(self._pin.value(), debounce_ms, time.ticks_ms())

    def prepare(self):
        """Nothing to start."""
        return 0

    def read(self):
        """The settled state."""
        return ((self.name, None, self._settled.level == self._active),)

    async def run(self, report):
        """Watch the pin for ever."""
        while True:
            await asyncio.sleep_ms(_POLL_MS)
            if self._settled.take(self._pin.value(), time.ticks_ms()):
                report(self)


def settings(section, pin, _kind):
    """Check one entry."""
    return (
        section.channel(),
        pin(section, "pin", False),
        section.choice("active", ("low", "high"), "low") == "high",
        section.integer("debounce_ms", 0, 10000, 50),
        section.choice("pull", ("none", "up", "down"), "none"),
    )


def names(chosen):
    """What it reports."""
    return ("input/%d" % chosen[0],)


def open_driver(chosen, _shared):
    """Take the pin."""
    return DigitalInput(*chosen)
