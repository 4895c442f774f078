"""4-20 mA transmitters on the ADC: the current through a shunt, scaled; failures as NAMUR NE 43 signals them."""

from micropython import const

from andon_node.drivers import OK
from andon_node.drivers.analog import AnalogInput
from andon_node.drivers.quantities import UNITS

UNDER = "under-range"
OVER = "over-range"

_LIVE_ZERO_UA = const(4000)
_SPAN_UA = const(16000)
# NE 43: a transmitter that knows it has failed (and a broken wire) goes to 3.6 mA or below, or to 21 mA or above. Between
# these and 3.8 and 20.5 mA its value is still good, a little outside of its range.
_FAILED_LOW_UA = const(3600)
_FAILED_HIGH_UA = const(21000)


def fault_of(microamperes):
    """Return `ok` or the failure that a current means."""
    if microamperes <= _FAILED_LOW_UA:
        return UNDER
    return OVER if microamperes >= _FAILED_HIGH_UA else OK


def scaled(microamperes, low, high):
    """The measured quantity; `low` at 4 mA, `high` at 20 mA."""
    return low + (high - low) * (microamperes - _LIVE_ZERO_UA) / _SPAN_UA


class LoopCurrent:
    """One transmitter."""

    def __init__(self, quantity, channel, analog, shunt_ohm, low, high):
        self.name = "%s/%d" % (quantity, channel)
        self.fault = OK
        self._unit = UNITS[quantity]
        self._analog = analog
        self._shunt_ohm = shunt_ohm
        self._low = low
        self._high = high

    def prepare(self):
        """Nothing to start."""
        return 0

    def read(self):
        """Measure now."""
        # Microvolts over ohms are microamperes.
        microamperes = self._analog.microvolts() // self._shunt_ohm
        self.fault = fault_of(microamperes)
        if self.fault != OK:
            return ()
        return ((self.name, self._unit, scaled(microamperes, self._low, self._high)),)


def settings(section, pin, _kind):
    """Check one entry."""
    return (
        section.choice("quantity", tuple(sorted(UNITS)), "pressure"),
        section.channel(),
        pin(section, "pin", False, analog=True),
        # 21 mA must stay below the ADC's 3.1 V: 147 ohm at most.
        section.integer("shunt_ohm", 10, 147, 100),
        section.number("low"),
        section.number("high"),
    )


def names(chosen):
    """What it reports."""
    return ("%s/%d" % chosen[:2],)


def open_driver(chosen, _shared):
    """Take the pin."""
    quantity, channel, gpio, shunt_ohm, low, high = chosen
    return LoopCurrent(quantity, channel, AnalogInput(gpio), shunt_ohm, low, high)
