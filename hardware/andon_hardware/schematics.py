"""The schematics, drawn with schemdraw; part values come from the calculations."""

# schemdraw's element classes have no types, and its parts take their own arguments after the direction.
# mypy: disable-error-code="no-untyped-call,call-arg"

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import schemdraw
import schemdraw.elements as elm
from schemdraw import logic

from andon_hardware import loop_input, pulse_input, relay_driver, serial_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FONT_PT: Final = 12


def ohms(value: float) -> str:
    """A resistor's value as it is written in a schematic: 680 Ω, 3.3 kΩ."""
    return f"{value / 1000:g} kΩ" if value >= 1000 else f"{value:g} Ω"  # noqa: PLR2004  a kilo


def farads(value: float) -> str:
    """A capacitor's value: 680 pF, 100 nF."""
    for unit, size in (("µF", 1e-6), ("nF", 1e-9)):
        if value >= size * 0.999:
            return f"{value / size:g} {unit}"
    return f"{value / 1e-12:g} pF"


def _drawing() -> schemdraw.Drawing:
    drawing = schemdraw.Drawing(show=False)
    drawing.config(fontsize=_FONT_PT, unit=2.6, lw=1.6, bgcolor="white", margin=0.4)
    return drawing


def _pulse_input(title: str, kind: pulse_input.Filter, *, schmitt: bool) -> schemdraw.Drawing:
    d = _drawing()
    d += (plus := elm.Dot(open=True).label("IN +", "left"))
    d += elm.Line().right(1.0).at(plus.center)
    d += (top := elm.Dot())
    d += elm.Resistor().right().label(f"R1\n{ohms(pulse_input.SERIES.nominal)}")
    d += (after := elm.Dot())
    d += elm.Line().right(1.9)
    d += (d1_top := elm.Dot())
    d += (led_top := elm.Line().right(2.8))
    anode = led_top.end
    low = anode[1] - 3.6
    d += elm.DiodeTVS().at(top.center).to((top.center[0], low)).label("D1\nSMAJ33CA", "bottom", ofst=(-0.05, 0.1))
    d += (
        elm.Resistor()
        .at(after.center)
        .to((after.center[0], low))
        .label(f"R2\n{ohms(pulse_input.SHUNT.nominal)}", "bottom")
    )
    d += elm.Diode().at((d1_top.center[0], low)).to(d1_top.center).label("D2\n1N4148", "bottom")
    out, ground = (_schmitt_opto if schmitt else _transistor_opto)(d, anode, low)
    d += elm.Line().at((anode[0], low)).to((plus.center[0], low))
    d += elm.Dot(open=True).at((plus.center[0], low)).label("IN -", "left")
    for x in (top.center[0], after.center[0], d1_top.center[0]):
        d += elm.Dot().at((x, low))
    d += elm.Line().at(ground).to((ground[0], low + 0.4))
    d += elm.Ground()
    # The 3.3 V side.
    d += elm.Line().right(0.8).at(out)
    d += (node := elm.Dot())
    d += elm.Resistor().up().at(node.center).label(f"R3\n{ohms(kind.pull_up.nominal)}", "bottom")
    d += elm.Vdd().label("3V3")
    d += elm.Resistor().right().at(node.center).label(f"R4\n{ohms(kind.series.nominal)}")
    d += (pin := elm.Dot())
    d += elm.Line().right(1.0)
    d += elm.Dot(open=True).label("IN1 … IN4\n(ESP32)", "right")
    d += elm.Capacitor().down().at(pin.center).toy(low + 0.4).label(f"C1\n{farads(kind.capacitor.nominal)}", "bottom")
    d += elm.Ground()
    d += elm.Label().at((anode[0], anode[1] + 4.4)).label(title)
    return d


Point = tuple[float, float]


def _schmitt_opto(d: schemdraw.Drawing, anode: Point, low: float) -> tuple[Point, Point]:
    """H11L1M: LED, Schmitt-trigger detector with open collector (on: low); returns output and ground."""
    x, y = anode
    corners = ((x - 0.6, y + 0.6), (x + 4.6, y + 0.6), (x + 4.6, y - 2.4), (x - 0.6, y - 2.4))
    for corner, following in zip(corners, (*corners[1:], corners[0]), strict=True):
        d += elm.Line().at(corner).to(following)
    d += elm.Diode().at(anode).to((x, y - 1.8))
    d += elm.Line().at((x, y - 1.8)).to((x, low))
    for step in (0.75, 1.1):
        d += elm.Arrow(headwidth=0.2, headlength=0.25).at((x + 0.45, y - step)).to((x + 1.05, y - step)).linewidth(1.2)
    d += (gate := logic.SchmittNot().theta(0).at((x + 2.0, y - 0.9)).anchor("in1"))
    out = (x + 5.2, gate.out[1])
    d += elm.Line().at(gate.out).to(out)
    middle = (gate.in1[0] + gate.out[0]) / 2
    d += elm.Line().at((middle, y + 0.6)).to((middle, y + 1.0))
    d += elm.Vdd().at((middle, y + 1.0)).label("3V3, C2 100 nF")
    d += elm.Label().at((x + 0.35, y + 0.95)).label("U1  H11L1M")
    d += elm.Label().at((middle + 0.25, y + 0.05)).label("6", fontsize=9)
    d += elm.Label().at((x + 4.85, y - 0.75)).label("4", fontsize=9)
    d += elm.Label().at((middle + 0.25, y - 2.3)).label("5", fontsize=9)
    d += elm.Label().at((x - 0.25, y + 0.05)).label("1", fontsize=9)
    d += elm.Label().at((x - 0.25, y - 2.3)).label("2", fontsize=9)
    return out, (middle, y - 2.4)


def _transistor_opto(d: schemdraw.Drawing, anode: Point, low: float) -> tuple[Point, Point]:
    """LTV-817: LED and phototransistor; returns collector and where the emitter goes down."""
    d += (opto := elm.Optocoupler(box=True).theta(0).at(anode).anchor("anode"))
    d += elm.Line().at(opto.cathode).to((opto.cathode[0], low))
    for pin, (x, y), shift in (
        ("1", opto.anode, -0.2),
        ("2", opto.cathode, -0.2),
        ("4", opto.collector, 0.25),
        ("3", opto.emitter, 0.25),
    ):
        d += elm.Label().at((x + shift, y + 0.2)).label(pin, fontsize=9)
    d += elm.Label().at((anode[0] + 1.4, anode[1] + 0.75)).label("U1\nLTV-817, rank C")
    d += elm.Line().right(0.4).at(opto.emitter)
    return tuple(opto.collector), (opto.emitter[0] + 0.4, opto.emitter[1])


def pulse_input_electronic() -> schemdraw.Drawing:
    """Proximity switches and other clean signals, up to 10 kHz."""
    return _pulse_input("24 V pulse input, mode electronic (proximity switch)", pulse_input.ELECTRONIC, schmitt=True)


def pulse_input_contact() -> schemdraw.Drawing:
    """Dry contacts."""
    return _pulse_input("24 V pulse input, mode contact (dry contact)", pulse_input.CONTACT, schmitt=False)


def current_loop() -> schemdraw.Drawing:
    """4-20 mA at the ADC."""
    d = _drawing()
    d += (plus := elm.Dot(open=True).label("I +", "left"))
    d += elm.FuseIEC().right().label("F31  MF-R005")
    d += (zener := elm.Dot())
    d += elm.Line().right(3.0)
    d += (shunt := elm.Dot())
    d += elm.Resistor().right(3.0).label(f"R32  {ohms(loop_input.SERIES.nominal)}")
    d += (clamp := elm.Dot())
    d += elm.Line().right(2.3)
    d += (cap := elm.Dot())
    d += elm.Line().right(1.0)
    d += elm.Dot(open=True).label("ADC1 pin\n(ESP32)", "right")
    low = plus.center[1] - 3.2
    d += elm.Zener().at((zener.center[0], low)).to(zener.center).label("D31\n1N5341B\n6.2 V", "bottom")
    d += (
        elm.Resistor()
        .at(shunt.center)
        .to((shunt.center[0], low))
        .label(f"R31\n{ohms(loop_input.SHUNT.nominal)}\n0.1 %", "bottom")
    )
    d += elm.Diode().at((clamp.center[0], low)).to(clamp.center).label("D32\nBAT54S\npins 1, 3", "bottom")
    d += elm.Diode().up().at(clamp.center).label("D32\npins 3, 2", "bottom")
    d += elm.Vdd().label("3V3")
    d += (
        elm.Capacitor()
        .at(cap.center)
        .to((cap.center[0], low))
        .label(f"C31\n{farads(loop_input.CAPACITOR.nominal)}", "bottom")
    )
    d += elm.Line().at((plus.center[0], low)).to((cap.center[0], low))
    d += elm.Dot(open=True).at((plus.center[0], low)).label("I -", "left")
    for x in (zener.center[0], shunt.center[0], clamp.center[0], cap.center[0]):
        d += elm.Dot().at((x, low))
    d += elm.Ground().at((clamp.center[0] + 1.1, low))
    d += elm.Dot().at((clamp.center[0] + 1.1, low))
    d += elm.Label().at((shunt.center[0] - 0.4, plus.center[1] + 2.2)).label("4-20 mA input (not isolated)")
    return d


def supply() -> schemdraw.Drawing:
    """24 V to 5 V."""
    d = _drawing()
    d += elm.Dot(open=True).label("24 V\n(cabinet)", "left")
    d += elm.FuseIEC().right().label("F1  500 mA T")
    d += elm.Line().right(1.6)
    d += (plus := elm.Dot(open=True).label("X1 24V", "top"))
    d += elm.Line().right(2.0)
    d += (diode := elm.Dot())
    d += elm.Line().right(3.0)
    d += (cap := elm.Dot())
    d += elm.Line().right(2.4)
    into = (cap.center[0] + 2.4, cap.center[1])
    low = plus.center[1] - 3.2
    chip = elm.Ic(
        pins=[
            elm.IcPin("VIN", "1", side="left", slot="1/1"),
            elm.IcPin("VOUT", "3", side="right", slot="1/1"),
            elm.IcPin("GND", "2", side="bottom", slot="1/1"),
        ],
        size=(3.4, 2.2),
    ).label("PS1  TSR 1-2450", "top")
    d += chip.anchor("VIN").at(into)
    d += elm.Line().right(0.8).at(chip.VOUT)
    d += elm.Dot(open=True).label("5 V", "right")
    d += elm.Line().at(chip.GND).to((chip.GND[0], low))
    d += elm.Zener().at((diode.center[0], low)).to(diode.center).label("D10\nSMAJ28A\nring up", "bottom")
    d += elm.Capacitor(polar=True).at(cap.center).to((cap.center[0], low)).label("C9\n22 µF 50 V", "bottom")
    d += elm.Line().at((plus.center[0], low)).to((chip.GND[0], low))
    d += elm.Dot(open=True).at((plus.center[0], low)).label("X1 0V", "left")
    for x in (diode.center[0], cap.center[0]):
        d += elm.Dot().at((x, low))
    d += elm.Dot().at((chip.GND[0], low))
    d += elm.Ground().at((chip.GND[0], low))
    d += elm.Label().at((diode.center[0] + 1.0, plus.center[1] + 2.0)).label("Supply")
    return d


def relay() -> schemdraw.Drawing:
    """A relay and its contact."""
    d = _drawing()
    d += elm.Dot(open=True).label("RELAY1\n(ESP32)", "left")
    d += elm.Resistor().right().label(f"R21\n{ohms(relay_driver.GATE_SERIES.nominal)}")
    d += (gate := elm.Dot())
    d += elm.Line().right(2.0)
    d += (fet := elm.NFet(bulk=True, diode=True).theta(0).reverse().anchor("gate"))
    d += elm.Label().at((fet.drain[0] + 0.5, fet.center[1])).label("Q1\nAO3400A\nG 1, S 2, D 3", halign="left")
    low = fet.source[1] - 1.2
    d += (
        elm.Resistor()
        .at(gate.center)
        .to((gate.center[0], low))
        .label(f"R22\n{ohms(relay_driver.PULL_DOWN.nominal)}", "bottom")
    )
    d += elm.Ground().at((gate.center[0], low))
    d += elm.Line().at(fet.source).to((fet.source[0], low))
    d += elm.Ground().at((fet.source[0], low))
    d += elm.Line().up(0.6).at(fet.drain)
    d += (bottom := elm.Dot())
    top_y = bottom.center[1] + 2.8
    coil_x = bottom.center[0] + 2.4
    d += elm.Diode().at(bottom.center).to((bottom.center[0], top_y)).label("D21\n1N4007", "top")
    d += (top := elm.Dot().at((bottom.center[0], top_y)))
    d += elm.Vdd().at(top.center).label("5 V")
    d += elm.Line().at(top.center).to((coil_x, top_y))
    d += elm.Line().at(bottom.center).to((coil_x, bottom.center[1]))
    d += elm.ResistorIEC().at((coil_x, top_y)).to((coil_x, bottom.center[1])).label("K1\nG5LE-1\nDC5", "top")
    # The contact, drawn at rest: COM on NC.
    link_y = (top_y + bottom.center[1]) / 2
    x, y = coil_x + 4.2, link_y - 1.2
    d += elm.Dot(open=True).at((x - 1.2, y)).label("COM", "left")
    d += elm.Line().at((x - 1.2, y)).to((x - 0.1, y))
    d += elm.Dot(open=True, radius=0.1).at((x, y))
    for rise, name in ((0.8, "NO"), (-0.8, "NC")):
        d += elm.Dot(open=True, radius=0.1).at((x + 1.5, y + rise))
        d += elm.Line().at((x + 1.6, y + rise)).to((x + 2.6, y + rise))
        d += elm.Dot(open=True).at((x + 2.6, y + rise)).label(name, "right")
    d += elm.Line().at((x + 0.08, y - 0.06)).to((x + 1.5, y - 0.7))
    d += elm.Label().at((x + 0.7, y - 1.9)).label("K1, drawn with the coil off")
    for start, end in (((coil_x + 0.25, link_y), (x + 0.75, link_y)), ((x + 0.75, link_y), (x + 0.75, y - 0.36))):
        d += elm.Line().at(start).to(end).linestyle("--").linewidth(1.2)
    d += elm.Label().at((coil_x + 0.6, top_y + 1.6)).label("Relay output: off in reset, dead, or without supply")
    return d


def _protected_pair(d: schemdraw.Drawing, x: float, upper: float, lower: float, name: str) -> None:
    """Two TVS diodes from the wires of a pair to ground, as they are in one SM712."""
    middle = (upper + lower) / 2
    for y in (upper, lower):
        d += elm.Dot().at((x, y))
        d += elm.DiodeTVS().at((x, y)).to((x, middle)).scale(0.8)
    d += elm.Dot().at((x, middle))
    d += elm.Line().at((x, middle)).to((x + 0.6, middle))
    d += elm.Ground().at((x + 0.6, middle))
    d += elm.Label().at((x + 0.35, middle + 0.55)).label(f"{name}\nSM712\n1, 2; 3 to ground", halign="left")


def rs485() -> schemdraw.Drawing:
    """The wired node's four wires."""
    d = _drawing()
    chip = elm.Ic(
        pins=[
            elm.IcPin("VCC", "1", side="left", slot="7/7"),
            elm.IcPin("R", "2", side="left", slot="5/7"),
            elm.IcPin("D", "3", side="left", slot="3/7"),
            elm.IcPin("GND", "4", side="left", slot="1/7"),
            elm.IcPin("A", "8", side="right", slot="7/7"),
            elm.IcPin("B", "7", side="right", slot="5/7"),
            elm.IcPin("Y", "5", side="right", slot="3/7"),
            elm.IcPin("Z", "6", side="right", slot="1/7"),
        ],
        pinspacing=1.5,
        edgepadH=0.4,
        edgepadW=1.2,
    ).label("U3\nMAX3490E", "center")
    d += chip
    d += elm.Line().left(1.0).at(chip.VCC)
    d += elm.Vdd().label("3V3, C41 100 nF")
    d += elm.Line().left(1.0).at(chip.GND)
    d += elm.Ground()
    for anchor, words in ((chip.D, "TX\n(ESP32)"), (chip.R, "RX\n(ESP32)")):
        d += elm.Line().left(1.0).at(anchor)
        d += elm.Dot(open=True).label(words, "left")
    end_x = chip.A[0] + 9.0
    for anchor, words in ((chip.A, "RX+"), (chip.B, "RX-"), (chip.Y, "TX+"), (chip.Z, "TX-")):
        d += elm.Line().at(anchor).to((end_x, anchor[1]))
        d += elm.Dot(open=True).at((end_x, anchor[1])).label(words, "right")
    bias_x, term_x, tvs_x = chip.A[0] + 1.2, chip.A[0] + 3.4, chip.A[0] + 6.0
    d += elm.Dot().at((bias_x, chip.A[1]))
    d += elm.Resistor().at((bias_x, chip.A[1])).up(2.0).label(f"R42\n{ohms(serial_line.BIAS.nominal)}", "bottom")
    d += elm.Vdd().label("3V3")
    d += elm.Dot().at((bias_x, chip.B[1]))
    d += elm.Resistor().at((bias_x, chip.B[1])).down(2.0).label(f"R43\n{ohms(serial_line.BIAS.nominal)}", "bottom")
    d += elm.Ground()
    for y in (chip.A[1], chip.B[1]):
        d += elm.Dot().at((term_x, y))
    d += (
        elm.Resistor()
        .at((term_x, chip.A[1]))
        .to((term_x, chip.B[1]))
        .label(f"R41\n{ohms(serial_line.TERMINATION.nominal)}", "bottom")
    )
    _protected_pair(d, tvs_x, chip.A[1], chip.B[1], "D41")
    _protected_pair(d, tvs_x, chip.Y[1], chip.Z[1], "D42")
    d += (
        elm.Label().at((chip.A[0] + 5.2, chip.A[1] + 3.2)).label("Wired node: four wires, one node to one gateway port")
    )
    return d


DRAWINGS: Final[dict[str, Callable[[], schemdraw.Drawing]]] = {
    "supply": supply,
    "pulse-input-electronic": pulse_input_electronic,
    "pulse-input-contact": pulse_input_contact,
    "current-loop": current_loop,
    "relay": relay,
    "rs485": rs485,
}


def save(name: str, path: Path) -> None:
    """Draw one of `DRAWINGS` as SVG."""
    drawing = DRAWINGS[name]()
    path.write_bytes(drawing.get_imagedata("svg"))
