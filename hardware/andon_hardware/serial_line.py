"""The wired node's line: RS-485 levels on four wires, full duplex, one node to one gateway port.

Both ends may speak at any time (CoAP, slipmux) and the firmware switches no driver on and off for it: two wires would collide.
The two-wire bus of Modbus meters is another thing: there the node alone asks, and `de` switches its driver.
"""

from __future__ import annotations

from typing import Final

from andon_hardware.tolerance import Figure, Range, over_tolerances

SUPPLY: Final = Range.part(3.3, 0.05)
TERMINATION: Final = Range.part(120.0, 0.01)
BIAS: Final = Range.part(680.0, 0.01)
BUS_BIAS: Final = Range.part(390.0, 0.01)
# TIA/EIA-485-A: a receiver is sure from 200 mV; a driver gives 1.5 V into 54 ohm.
SURE_V: Final = 0.2
DRIVEN_V: Final = 1.5
LEAST_LOAD: Final = 54.0
# 0.34 mm2 copper at 60 degC.
WIRE_OHM_PER_M: Final = Range(0.050, 0.054, 0.062)
LENGTH_M: Final = 500.0
# TIA/EIA-485-A: a unit load takes 1 mA at 12 V.
UNIT_LOAD: Final = 12_000.0


def idle_voltage(bias: Range, terminations: int) -> Range:
    """Difference at a pair that nobody drives."""
    return over_tolerances(
        lambda supply, bias, termination: supply * (termination / terminations) / (2 * bias + termination / terminations),
        supply=SUPPLY, bias=bias, termination=TERMINATION,
    )  # fmt: skip


def load(bias: Range, terminations: int) -> Range:
    """What a driver has to feed, in ohms."""
    return over_tolerances(
        lambda bias, termination: 1 / (terminations / termination + 1 / (2 * bias)), bias=bias, termination=TERMINATION
    )


def received_voltage(length_m: float) -> Range:
    """Difference at the far end of a line, in volts; the pair's resistance and the far termination divide it."""
    return over_tolerances(
        lambda wire, termination: DRIVEN_V * termination / (termination + 2 * length_m * wire),
        wire=WIRE_OHM_PER_M, termination=TERMINATION,
    )  # fmt: skip


def unit_loads() -> Range:
    """How many unit loads the Modbus bus may carry beside its two terminations and the bias; a modern meter is an eighth."""
    return over_tolerances(
        lambda bias, termination: UNIT_LOAD * (1 / LEAST_LOAD - 2 / termination - 1 / (2 * bias)),
        bias=BUS_BIAS, termination=TERMINATION,
    )  # fmt: skip


def figures() -> list[Figure]:
    """The calculation."""
    return [
        Figure("four wires: pair with nobody on it", "VDD Rt / (2 Rb + Rt), Rb 680", idle_voltage(BIAS, 1), "V", at_least=SURE_V,
               why="a receiver is sure from 0.2 V: an unplugged line is quiet"),
        Figure("four wires: driver's load", "Rt || 2 Rb", load(BIAS, 1), "ohm", at_least=LEAST_LOAD, why="RS-485 drivers: 54 ohm"),
        Figure("four wires: received after 500 m", "1.5 V Rt / (Rt + 2 l r)", received_voltage(LENGTH_M), "V", at_least=2 * SURE_V,
               why="twice the least; 0.34 mm2"),
        Figure("Modbus bus, two terminations: idle", "VDD (Rt/2) / (2 Rb + Rt/2), Rb 390", idle_voltage(BUS_BIAS, 2), "V",
               at_least=SURE_V, why="once on the whole bus, at one end"),
        Figure("Modbus bus: driver's load", "Rt/2 || 2 Rb", load(BUS_BIAS, 2), "ohm", at_least=LEAST_LOAD, why="RS-485 drivers: 54 ohm"),
        Figure("Modbus bus: unit loads", "12 kohm (1/54 ohm - 1/load)", unit_loads(), "UL", at_least=4.0,
               why="node and meters together: 4, or 32 of an eighth"),
    ]  # fmt: skip
