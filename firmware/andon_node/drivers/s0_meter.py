"""Energy meters with an S0 pulse output (DIN 43864, IEC 62053-31): pulses become joules since the start of the node."""

from micropython import const

from andon_node.drivers import OK
from andon_node.drivers.pulse import ContactCounter

_J_PER_KWH = const(3600000)
# A pulse and the pause after it last at least 30 ms; whatever comes sooner after an edge is bounce.
_DEBOUNCE_MS = const(20)


def joules(pulses, pulses_per_kwh):
    """Energy of so many pulses, in whole joules: below by less than one, however many pulses there were."""
    return pulses * _J_PER_KWH // pulses_per_kwh


class S0Meter:
    """One meter."""

    def __init__(self, channel, gpio, active_high, pulses_per_kwh):
        self.name = "energy/%d" % channel
        self.fault = OK
        self._counter = ContactCounter(channel, gpio, active_high, _DEBOUNCE_MS)
        self._pulses_per_kwh = pulses_per_kwh

    def prepare(self):
        """Nothing to start."""
        return 0

    def keep_up(self):
        """Between samples that are far apart: count on."""
        self._counter.keep_up()

    def read(self):
        """Energy so far."""
        return ((self.name, "J", joules(self._counter.total(), self._pulses_per_kwh)),)


def settings(section, pin, _kind):
    """Check one entry."""
    return (
        section.channel(),
        pin(section, "pin", False),
        section.choice("active", ("low", "high"), "low") == "high",
        section.integer("pulses_per_kwh", 1, 100000, 1000),
    )


def names(chosen):
    """What it reports."""
    return ("energy/%d" % chosen[0],)


def open_driver(chosen, _shared):
    """Take the pin."""
    return S0Meter(*chosen)
