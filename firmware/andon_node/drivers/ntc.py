"""NTC thermistors in a divider on the ADC: beta equation or Steinhart-Hart."""

import math

from micropython import const

from andon_node.drivers import OK, RANGE
from andon_node.drivers.analog import FULL_UV, AnalogInput

OPEN = "open"
SHORT = "short"

_ZERO_CELSIUS_K = 273.15
_T25_K = 298.15
# Outside of these shares of the supply the thermistor is cut off or shorted.
_OPEN_PERCENT = const(98)
_SHORT_PERCENT = const(2)
_LOWEST_C = const(-55)
_HIGHEST_C = const(250)


def beta_celsius(ohm, r25_ohm, beta):
    """Temperature by 1/T = 1/T25 + ln(R/R25)/B."""
    return 1 / (1 / _T25_K + math.log(ohm / r25_ohm) / beta) - _ZERO_CELSIUS_K


def steinhart_hart_celsius(ohm, a, b, c):
    """Temperature by 1/T = a + b ln R + c (ln R)^3."""
    log = math.log(ohm)
    return 1 / (a + b * log + c * log * log * log) - _ZERO_CELSIUS_K


class Thermistor:
    """One NTC; `pull` says where the fixed resistor goes: `up` to the supply, `down` to ground."""

    def __init__(self, channel, analog, series_ohm, supply_uv, pull, curve):
        """Take the pin; `curve(ohm)` gives degC."""
        self.name = "temperature/%d" % channel
        self.fault = OK
        self._analog = analog
        self._series_ohm = series_ohm
        self._supply_uv = supply_uv
        self._pull = pull
        self._curve = curve

    def prepare(self):
        """Nothing to start."""
        return 0

    def read(self):
        """Measure now."""
        seen = self._analog.microvolts()
        across = seen if self._pull == "up" else self._supply_uv - seen
        ended = seen >= FULL_UV
        if across * 100 > self._supply_uv * _OPEN_PERCENT or (ended and self._pull == "up"):
            self.fault = OPEN
        elif across * 100 < self._supply_uv * _SHORT_PERCENT or ended:
            self.fault = SHORT
        else:
            celsius = self._curve(self._series_ohm * across / (self._supply_uv - across))
            self.fault = OK if _LOWEST_C <= celsius <= _HIGHEST_C else RANGE
            if self.fault == OK:
                return ((self.name, "Cel", celsius),)
        return ()


def settings(section, pin, _kind):
    """Check one entry: `beta` and `r25_ohm`, or `steinhart_hart` with three coefficients."""
    return (
        section.channel(),
        pin(section, "pin", False, analog=True),
        section.integer("series_ohm", 100, 1000000, 10000),
        section.integer("supply_mv", 1000, 5000, 3300),
        section.choice("pull", ("up", "down"), "up"),
        section.integer("beta", 1000, 10000, 3950),
        section.integer("r25_ohm", 100, 1000000, 10000),
        section.numbers("steinhart_hart", 3),
    )


def names(chosen):
    """What it reports."""
    return ("temperature/%d" % chosen[0],)


def open_driver(chosen, _shared):
    """Take the pin."""
    channel, gpio, series_ohm, supply_mv, pull, beta, r25_ohm, coefficients = chosen
    if coefficients is None:

        def curve(ohm):
            return beta_celsius(ohm, r25_ohm, beta)
    else:

        def curve(ohm):
            return steinhart_hart_celsius(ohm, *coefficients)

    return Thermistor(channel, AnalogInput(gpio), series_ohm, supply_mv * 1000, pull, curve)
