"""The page of calculations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from andon_hardware import loop_input, pulse_input, relay_driver, serial_line, supply

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_hardware.tolerance import Figure, Range

_SUPPLY: Final = """\
On a board of its own, a hand's breadth from X1; F1 is in the cabinet. D10 carries a swapped supply until F1 trips or the supply limits
its current, so that no more than its forward voltage reaches PS1 the wrong way round. It begins to conduct above what a 24 V supply may
have (IEC 61131-2) and before PS1's 36 V. That is enough for bursts and for coils that are switched off nearby, not for the surges of
IEC 61000-4-5, which long lines bring: there take a converter for 9 to 72 V (R-78HB5.0-0.5 for a node without a relay) with SMAJ33A, and
a surge arrester in the cabinet."""
_PULSES: Final = """\
Opto-isolated, for three-wire PNP switches and for dry contacts that 24 V goes through. The LED on pulls the pin low: `active` is `low`,
the default.

**The filter behind the optocoupler.** The ESP32's pulse counter drops everything shorter than 1023 periods of 80 MHz, 12.8 µs. Between
0.25 and 0.75 VDD the chip may read either level, and noise on a slow edge makes it read both in turn. R4 and C1 are therefore chosen
so that an edge crosses that band in less than 12.8 µs: whatever chatter comes of it is shorter than what the counter drops. R3 is
small beside R4, so that both edges are alike and a short disturbance is not stretched. A transistor optocoupler would spoil this
with its own slow edges; hence the Schmitt-trigger type. Nothing else may pull at the pin: the chip's own pull-up would lift the low
level out of what is surely low, and the firmware leaves it off. U1's pins 1 and 2 are the LED, 4 the output, 5 ground, 6 the supply.

**Contacts** bounce for milliseconds and are debounced by the firmware (`debounce_ms`, 20): an edge counts when the pin was quiet for
that long before it. There C1 keeps a chattering input from flooding the node with interrupts, and settles within the debouncing time. It
filters little else: a single disturbance longer than a fifth of a millisecond may count as a pulse.

**What is isolated.** PS1 connects the node's ground with the cabinet's 0 V. While the sensors hang on the same 24 V, the optocouplers keep
disturbances and wrong voltages out but separate no potentials; for that, feed the sensors from another supply and put IN - on its 0 V."""
_LOOP: Final = """\
The shunt is the largest usual value with which 21 mA stays within the range in which the ESP32's converter is calibrated, and 3.6 mA
(NAMUR NE 43: failure) above its lower end. With 24 V straight on the terminals the Zener diode holds 6.2 V until the fuse trips. The
current before that is many times what trips it; the Zener diode may fail (short) and must then be replaced. The input is not
isolated and its I - is the node's ground. The converter's own error rules: good for watching a machine, not for measuring it."""
_RELAY: Final = """\
The pull-down holds the MOSFET off even against a chip that pulls its pin up at reset: so the relay is off while the node is without
program, in reset, dead, or without supply, and `active` must be `high` (the default). Wire the load so that this is its safe state. A
ULN2003A loses up to 1.1 V, and a 5 V relay is no longer sure to operate; a 2N7002 is not specified at 3.3 V: neither is used."""
_LINE: Final = """\
The wired node speaks CoAP (slipmux) both ways at any time, and its firmware switches no driver: therefore **four wires, full duplex,
one node per port** of the gateway. TX+ goes to the other side's RX+. The bias makes an unplugged pair read as idle. (The two-wire bus
of Modbus meters is another UART: there `de` switches a MAX3485, and the bias stands once on the whole bus.)"""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A section of the page: drawings, words, calculation."""

    title: str
    drawings: tuple[str, ...]
    words: str
    figures: Callable[[], list[Figure]]


CIRCUITS: Final = (
    Circuit("Supply", ("supply",), _SUPPLY, supply.figures),
    Circuit("24 V pulse input", ("pulse-input-electronic", "pulse-input-contact"), _PULSES, pulse_input.figures),
    Circuit("4-20 mA input", ("current-loop",), _LOOP, loop_input.figures),
    Circuit("Relay output", ("relay",), _RELAY, relay_driver.figures),
    Circuit("RS-485", ("rs485",), _LINE, serial_line.figures),
)
_PREFIXES: Final = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_WHOLE: Final = ("ohm", "degC", "1/s", "UL")


def quantity(value: float, unit: str) -> str:
    """A value with its unit and prefix, three digits, such as 6.91 mA or 4.5 %."""
    if unit == "":
        return f"{100 * value:.2g} %"
    if value == 0 or unit in _WHOLE:
        return f"{value:.4g} {unit.replace('ohm', 'Ω').replace('degC', '°C')}"
    for size, prefix in _PREFIXES:
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _limits(figure: Figure) -> str:
    words = []
    if figure.at_least is not None:
        words.append(f"≥ {quantity(figure.at_least, figure.unit)}")
    if figure.at_most is not None:
        words.append(f"≤ {quantity(figure.at_most, figure.unit)}")
    return ", ".join(words)


def _row(figure: Figure) -> str:
    result: Range = figure.result
    cells = [quantity(value, figure.unit) for value in (result.low, result.nominal, result.high)]
    limit = _limits(figure)
    kept = "" if not limit else "kept" if figure.kept else "**not kept**"
    formula = figure.formula.replace("||", "∥")
    return f"| {figure.what} | `{formula}` | {' | '.join(cells)} | {limit} | {kept} | {figure.why} |"


def render() -> str:
    """The page."""
    page = [
        "# Circuits",
        "",
        "Generated by `make hardware`; the formulas and part values stand in [`andon_hardware/`](andon_hardware), one module per circuit. *least* and *most* are the",
        "worst case over all tolerances of the parts (and of the supply); `tests/hardware` holds every limit, compares with numbers worked by hand and, where ngspice",
        "is installed, with a simulation.",
        "",
    ]
    for circuit in CIRCUITS:
        page += [f"## {circuit.title}", ""]
        page += [f"![{name.replace('-', ' ')}](drawings/{name}.svg)\n" for name in circuit.drawings]
        page += [
            circuit.words,
            "",
            "| what | how | least | nominal | most | limit | | why |",
            "|---|---|---|---|---|---|---|---|",
        ]
        page += [_row(figure) for figure in circuit.figures()]
        page.append("")
    return "\n".join(page).rstrip() + "\n"
