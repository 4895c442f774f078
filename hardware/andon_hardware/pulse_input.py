"""The 24 V pulse input: opto-isolated, with an RC filter that fits the counter behind it.

Two variants share the 24 V side and the RC network's places. `electronic` (proximity switches, counted by the ESP32's pulse
counter) has a Schmitt-trigger optocoupler and a filter of microseconds; `contact` (dry contacts, counted by interrupts and
debounced by the firmware) has a transistor optocoupler and a filter of milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Final

from andon_hardware.tolerance import Figure, Range, over_tolerances

# The ESP32's counter drops pulses shorter than this many periods of its 80 MHz clock (ESP-IDF, PCNT glitch filter: 10 bits).
FILTER_CLOCKS: Final = 1023
APB_HZ: Final = 80e6
FILTER_S: Final = FILTER_CLOCKS / APB_HZ

# ESP32 datasheet, DC characteristics: low below 0.25 VDD, high above 0.75 VDD; between them either.
VIL_SHARE: Final = 0.25
VIH_SHARE: Final = 0.75

SUPPLY: Final = Range.part(3.3, 0.05)
# IEC 61131-2, digital input of type 1 at 24 V: off up to 5 V, on from 15 V to 30 V.
OFF_V: Final = 5.0
ON_V: Final = 15.0
NOMINAL_V: Final = 24.0
HIGHEST_V: Final = 30.0
# The LED's forward voltage over current and temperature, wider than the datasheets' 1.0 to 1.5 V.
LED_V: Final = Range(0.9, 1.2, 1.5)

SERIES: Final = Range.part(3300.0, 0.01)
SHUNT: Final = Range.part(680.0, 0.01)


@dataclass(frozen=True, slots=True)
class Filter:
    """What lies between optocoupler and pin, and what the optocoupler does: saturation voltage and delays (s)."""

    pull_up: Range
    series: Range
    capacitor: Range
    saturation_v: Range
    delay_s: float

    def rising(self) -> Range:
        """Time constant with the optocoupler off."""
        return over_tolerances(
            lambda pull_up, series, capacitor: (pull_up + series) * capacitor,
            pull_up=self.pull_up, series=self.series, capacitor=self.capacitor,
        )  # fmt: skip

    def falling(self) -> Range:
        """Time constant with the optocoupler on."""
        return over_tolerances(
            lambda series, capacitor: series * capacitor, series=self.series, capacitor=self.capacitor
        )

    def rise(self, from_share: float, to_share: float) -> Range:
        """Time from one share of the supply to another while the pin rises."""
        return over_tolerances(lambda tau: tau * log((1 - from_share) / (1 - to_share)), tau=self.rising())

    def fall(self, from_share: float, to_share: float) -> Range:
        """Time from one share of the supply to another while the pin falls towards the saturation voltage."""
        return over_tolerances(
            lambda tau, supply, saturation: tau
            * log((from_share * supply - saturation) / (to_share * supply - saturation)),
            tau=self.falling(), supply=SUPPLY, saturation=self.saturation_v,
        )  # fmt: skip


# H11L1M: open collector, 0.4 V at 16 mA, delays up to 4 us. C0G holds its value over voltage and temperature.
ELECTRONIC: Final = Filter(
    Range.part(1000.0, 0.01), Range.part(10_000.0, 0.01), Range.part(680e-12, 0.05), Range(0.1, 0.2, 0.4), 4e-6
)
# LTV-817, rank C. X7R: 10 % as bought.
CONTACT: Final = Filter(
    Range.part(4700.0, 0.01), Range.part(10_000.0, 0.01), Range.part(100e-9, 0.10), Range(0.05, 0.1, 0.3), 50e-6
)
# H11L1M switches on at 1.6 mA at the latest.
SCHMITT_ON_A: Final = 1.6e-3
# LTV-817 rank C: 200 % at 5 mA; 0.7 of it at the lowest current here, 0.5 of that for temperature and age.
LEAST_CTR: Final = 2.0 * 0.7 * 0.5

DEBOUNCE_S: Final = 0.020
BOUNCE_S: Final = 0.010


def led_current(volts: float) -> Range:
    """Current through the LED at an input voltage, in amperes; the shunt takes its part. Not below zero."""
    return over_tolerances(
        lambda series, shunt, led: max(0.0, (volts - led) / series - led / shunt),
        series=SERIES, shunt=SHUNT, led=LED_V,
    )  # fmt: skip


def input_current(volts: float) -> Range:
    """Current that the input takes, in amperes."""
    return over_tolerances(lambda series, led: (volts - led) / series, series=SERIES, led=LED_V)


def dark_up_to() -> Range:
    """Input voltage up to which the shunt keeps the LED from conducting."""
    return over_tolerances(lambda series, shunt, led: led * (1 + series / shunt), series=SERIES, shunt=SHUNT, led=LED_V)


def series_power(volts: float) -> Range:
    """Power in the series resistor, in watts."""
    return over_tolerances(lambda series, led: (volts - led) ** 2 / series, series=SERIES, led=LED_V)


def shortest_pulse(circuit: Filter) -> float:
    """Pulse at the LED that the counter surely sees: low at the pin for longer than its filter, all delays at their worst.

    That the pin comes back slowly is not counted in its favour: after a short pulse it has not far to go.
    """
    return FILTER_S + circuit.delay_s + circuit.fall(1.0, VIL_SHARE).high


def shortest_pause(circuit: Filter) -> float:
    """Pause between pulses that the counter surely sees, the same way."""
    return FILTER_S + circuit.delay_s + circuit.rise(0.0, VIH_SHARE).high


def low_time(circuit: Filter, pulse_s: float) -> float:
    """How long the pin may read low (below VIH) after a pulse of the optocoupler, at most: falls fast, comes back slowly."""
    falling, rising = circuit.falling().low, circuit.rising().high
    supply, saturation = SUPPLY.nominal, circuit.saturation_v.low
    reached = saturation + (supply - saturation) * exp(-pulse_s / falling)
    if reached >= VIH_SHARE * supply:
        return 0.0
    begun = falling * log((supply - saturation) / (VIH_SHARE * supply - saturation))
    return pulse_s - begun + rising * log((supply - reached) / (supply - VIH_SHARE * supply))


def longest_rejected(circuit: Filter) -> float:
    """Disturbance at the optocoupler's output that the counter surely drops."""
    low, high = 0.0, 10 * FILTER_S
    for _ in range(60):
        middle = (low + high) / 2
        if low_time(circuit, middle) < FILTER_S:
            low = middle
        else:
            high = middle
    return low


def unseen(circuit: Filter) -> float:
    """Disturbance at the optocoupler's output that does not even bring the pin out of what is surely high."""
    return circuit.fall(1.0, VIH_SHARE).low


def swings_per_second(circuit: Filter) -> float:
    """How many whole swings the pin can make at most: what bounds the interrupts of a chattering input."""
    return 1 / (circuit.rise(VIL_SHARE, VIH_SHARE).low + circuit.fall(VIH_SHARE, VIL_SHARE).low)


def figures() -> list[Figure]:
    """The calculation."""

    def exact(value: float) -> Range:
        return Range(value, value, value)

    on, off = led_current(ON_V), dark_up_to()
    settled = BOUNCE_S + CONTACT.delay_s + max(CONTACT.fall(1.0, VIL_SHARE).high, CONTACT.rise(0.0, VIH_SHARE).high)
    return [
        Figure("input current at 24 V", "(24 V - Vf) / R1", input_current(NOMINAL_V), "A", 2e-3, 15e-3, "IEC 61131-2 type 1"),
        Figure("dark up to", "Vf (1 + R1/R2)", off, "V", at_least=OFF_V, why="off up to 5 V, IEC 61131-2 type 1"),
        Figure("LED current at 15 V", "(15 V - Vf)/R1 - Vf/R2", on, "A", at_least=SCHMITT_ON_A, why="H11L1M is on from 1.6 mA"),
        Figure("LED current at 30 V", "(30 V - Vf)/R1 - Vf/R2", led_current(HIGHEST_V), "A", at_most=30e-3, why="H11L1M: 30 mA"),
        Figure("power in R1 at 30 V", "(30 V - Vf)^2 / R1", series_power(HIGHEST_V), "W", at_most=0.3, why="half of 0.6 W"),
        Figure("counter's filter", "1023 / 80 MHz", exact(FILTER_S), "s"),
        Figure("electronic: rising through 0.25 to 0.75 VDD", "(R3 + R4) C1 ln 3", ELECTRONIC.rise(VIL_SHARE, VIH_SHARE), "s",
               at_most=FILTER_S, why="chatter on the edge is shorter than the filter"),
        Figure("electronic: falling through 0.75 to 0.25 VDD", "R4 C1 ln((0.75 VDD - Vs)/(0.25 VDD - Vs))",
               ELECTRONIC.fall(VIH_SHARE, VIL_SHARE), "s", at_most=FILTER_S, why="the same"),
        Figure("electronic: shortest pulse counted", "filter + 4 us + fall to 0.25 VDD", exact(shortest_pulse(ELECTRONIC)), "s", at_most=50e-6,
               why="10 kHz at half"),
        Figure("electronic: shortest pause counted", "filter + 4 us + rise to 0.75 VDD", exact(shortest_pause(ELECTRONIC)), "s", at_most=50e-6,
               why="10 kHz at half"),
        Figure("electronic: disturbance surely dropped", "low at the pin shorter than the filter, - 4 us",
               exact(longest_rejected(ELECTRONIC) - ELECTRONIC.delay_s), "s", at_least=1e-6,
               why="pulses of a burst of IEC 61000-4-4 have 50 ns"),
        Figure("contact: current that R3 asks for", "VDD / R3", over_tolerances(
            lambda supply, pull_up: supply / pull_up, supply=SUPPLY, pull_up=CONTACT.pull_up), "A",
            at_most=LEAST_CTR * on.low, why="what the weakest LTV-817 gives at 15 V"),
        Figure("contact: interrupts at most", "2 / (swing up + swing down)", exact(2 * swings_per_second(CONTACT)), "1/s",
               at_most=1000.0, why="a chattering input leaves the node time for its work"),
        Figure("contact: disturbance surely dropped", "VDD to 0.75 VDD, - 50 us", exact(unseen(CONTACT) - CONTACT.delay_s), "s",
               at_least=1e-6, why="pulses of a burst have 50 ns; what is longer may count once"),
        Figure("contact: settled after", "bounce of 10 ms + the slower edge", exact(settled), "s", at_most=DEBOUNCE_S,
               why="debounce_ms 20"),
    ]  # fmt: skip
