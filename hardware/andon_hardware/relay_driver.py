"""The relay driver: a logic-level MOSFET that stays off while nobody drives it, and a diode for the coil."""

from __future__ import annotations

from math import log
from typing import Final

from andon_hardware.tolerance import Figure, Range, over_tolerances

# Omron G5LE-1 DC5: 63 ohm within 10 % at 23 degC; operates at 75 % of 5 V, surely released at 10 %.
COIL_OHM: Final = Range.part(63.0, 0.10)
RATED_V: Final = 5.0
OPERATE_V: Final = 0.75 * RATED_V
RELEASE_V: Final = 0.10 * RATED_V
COIL_AT_C: Final = 23.0
RELEASE_TIME_S: Final = 5e-3
# Not in the datasheet: what sugar-cube relays of this power have.
COIL_HENRY: Final = Range(0.05, 0.1, 0.2)
COPPER_PER_K: Final = 0.00393
SUPPLY: Final = Range.part(5.0, 0.03)

# AO3400A: 48 mohm at 2.5 V, 30 V; conducts from 0.65 V at the earliest.
ON_OHM: Final = Range(0.02, 0.03, 0.10)
THRESHOLD_V: Final = 0.65
DRAIN_MAX_V: Final = 30.0
# 1N4007 at 80 mA.
DIODE_V: Final = Range(0.6, 0.75, 0.9)

GATE_SERIES: Final = Range.part(100.0, 0.05)
PULL_DOWN: Final = Range.part(4700.0, 0.01)
# A pin that is not set up yet may have the chip's own pull-up: 45 kohm typically, 30 kohm assumed at worst.
CHIP_PULL_UP: Final = Range(30_000.0, 45_000.0, 80_000.0)
IO_SUPPLY: Final = Range.part(3.3, 0.05)

# What the firmware waits for a contact (firmware/andon_node/drivers/relay.py).
FOLLOW_S: Final = 0.100


def coil_current() -> Range:
    """Current through the coil, in amperes."""
    return over_tolerances(lambda supply, coil, on: supply / (coil + on), supply=SUPPLY, coil=COIL_OHM, on=ON_OHM)


def undriven_gate() -> Range:
    """Gate voltage while the pin is not driven and the chip pulls it up."""
    return over_tolerances(
        lambda supply, pull_up, down: supply * down / (pull_up + down),
        supply=IO_SUPPLY, pull_up=CHIP_PULL_UP, down=PULL_DOWN,
    )  # fmt: skip


def driven_gate() -> Range:
    """Gate voltage while the pin is high."""
    return over_tolerances(
        lambda supply, series, down: supply * down / (series + down),
        supply=IO_SUPPLY, series=GATE_SERIES, down=PULL_DOWN,
    )  # fmt: skip


def warmest_coil_c() -> Range:
    """Coil temperature up to which the relay still operates: copper's resistance rises, the current falls."""
    return over_tolerances(
        lambda supply, on, coil: COIL_AT_C
        + ((supply * coil / (coil + on)) / OPERATE_V - 1) / COPPER_PER_K,
        supply=SUPPLY, on=ON_OHM, coil=COIL_OHM,
    )  # fmt: skip


def decay() -> Range:
    """Time until the coil's current through the diode is down to where the relay surely releases, in seconds."""
    return over_tolerances(
        lambda henry, coil, supply, diode: henry
        / coil
        * log((supply / coil + diode / coil) / (RELEASE_V / coil + diode / coil)),
        henry=COIL_HENRY, coil=COIL_OHM, supply=SUPPLY, diode=DIODE_V,
    )  # fmt: skip


def drain_peak() -> Range:
    """Voltage at the MOSFET when it switches off, in volts."""
    return over_tolerances(lambda supply, diode: supply + diode, supply=SUPPLY, diode=DIODE_V)


def figures() -> list[Figure]:
    """The calculation."""
    slowest = decay().high + RELEASE_TIME_S
    return [
        Figure("coil current", "VDD5 / (Rcoil + Ron)", coil_current(), "A", at_most=0.3, why="AO3400A: far below its limit"),
        Figure("gate, pin not driven", "VDD R22 / (Rup + R22)", undriven_gate(), "V", at_most=THRESHOLD_V,
               why="off during reset and boot: below the lowest threshold"),
        Figure("gate, pin high", "VDD R22 / (R21 + R22)", driven_gate(), "V", at_least=2.5, why="on-resistance is given from 2.5 V"),
        Figure("coil operates up to", "23 degC + (Vcoil/3.75 V - 1) / 0.00393", warmest_coil_c(), "degC", at_least=85.0,
               why="50 degC in the enclosure and 35 K of the coil's own"),
        Figure("peak at the drain", "VDD5 + Vd", drain_peak(), "V", at_most=DRAIN_MAX_V, why="AO3400A: 30 V"),
        Figure("current decays in", "L/R ln((V + Vd)/(0.5 V + Vd))", decay(), "s"),
        Figure("contact released after", "decay + 5 ms", Range(RELEASE_TIME_S, decay().nominal + RELEASE_TIME_S, slowest), "s",
               at_most=FOLLOW_S, why="what the firmware waits for the contact"),
    ]  # fmt: skip
