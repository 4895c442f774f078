"""The bill of materials: every line usable, and enough parts for what the drawings show."""

from __future__ import annotations

import html
import re
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from andon_hardware import __main__ as hardware
from andon_hardware import bom, harness, schematics

if TYPE_CHECKING:
    from pathlib import Path

LINES = bom.read(hardware.HARDWARE / "bom.csv")
HEAD = (
    "ref,what,manufacturer,part_number,alternatives,wifi_din,rs485,clip_on,options,unit_eur,price_date,checked,note\n"
)


def quantity(kind: str, *words: str) -> int:
    return sum(
        line.quantities[kind]
        for line in LINES
        if all(word in f"{line.what} {line.part_number} {line.note}" for word in words)
    )


def test_each_kind_has_what_its_harness_shows() -> None:
    for kind in ("wifi_din", "rs485", "clip_on"):
        assert quantity(kind, "controller board") == 1
        assert quantity(kind, "DC/DC converter") == 1
        assert quantity(kind, "fuse terminal") == 1
        assert quantity(kind, "DS18B20 probe") == 1
    assert (quantity("wifi_din", "H11L1M"), quantity("wifi_din", "LTV-817")) == (1, 1)
    assert (quantity("rs485", "MAX3490E"), quantity("rs485", "TVS for RS-485")) == (1, 2)
    assert (quantity("clip_on", "H11L1M"), quantity("clip_on", "LTV-817"), quantity("clip_on", "relay 5 V")) == (
        0,
        1,
        0,
    )


@pytest.mark.parametrize(("kind", "inputs"), [("wifi_din", 2), ("rs485", 1), ("clip_on", 1)])
def test_each_pulse_input_has_its_parts(kind: str, inputs: int) -> None:
    assert quantity(kind, "3.3 kohm") == inputs
    assert quantity(kind, "10 kohm") == inputs
    assert quantity(kind, "TVS diode at an input") == inputs
    assert quantity(kind, "signal diode") == inputs
    assert quantity(kind, "H11L1M") + quantity(kind, "LTV-817") == inputs
    # The wired node's line takes two more for its bias.
    assert quantity(kind, "680 ohm") == inputs + 2 * (kind == "rs485")


def test_drawn_part_numbers_are_on_the_bill() -> None:
    bill = " ".join(f"{line.part_number} {line.alternatives}" for line in LINES)
    drawn = "".join(html.unescape(path.read_text()) for path in (hardware.HARDWARE / "drawings").glob("*.svg"))
    parts = "H11L1M LTV-817 SMAJ33CA SMAJ28A 1N4148 MF-R005 1N5341B BAT54S AO3400A 1N4007 G5LE-1 MAX3490E SM712 TSR ESP32-DevKitC-32E"
    for part in parts.split():
        assert part in drawn
        assert part in bill


def test_name_on_a_drawing_is_one_part_and_on_the_bill() -> None:
    """Which resistor is R1 must not depend on which page lies on the bench; the two pulse inputs are alike."""
    on_bill = {name for line in LINES for name in line.ref.split(", ")}
    circuits: dict[str, str] = {}
    for name in schematics.DRAWINGS:
        words = " ".join(re.findall(r">([^<>]+)</", (hardware.HARDWARE / "drawings" / f"{name}.svg").read_text()))
        drawn = set(re.findall(r"\b[RCDFKQU]\d{1,2}\b", words))
        assert len(drawn) > 2, name
        assert drawn <= on_bill, name
        circuit = "pulse-input" if name.startswith("pulse-input") else name
        assert {circuits.setdefault(ref, circuit) for ref in drawn} == {circuit}


@pytest.mark.parametrize(
    ("kind", "circuit", "refs"),
    [
        ("wifi_din", "supply", "F1 D10 C9 PS1"),
        ("rs485", "supply", "F1 D10 C9 PS1"),
        ("clip_on", "supply", "F1 D10 C9 PS1"),
        ("wifi_din", "relay", "R21 R22 D21 Q1 K1"),
        ("rs485", "rs485", "R41 R42 R43 D41 D42 C41 U3"),
        ("options", "current-loop", "R31 R32 C31 D31 D32 F31"),
    ],
)
def test_circuit_of_a_kind_is_complete(kind: str, circuit: str, refs: str) -> None:
    drawn = (hardware.HARDWARE / "drawings" / f"{circuit}.svg").read_text()
    for ref in refs.split():
        assert ref in drawn
        assert sum(line.quantities[kind] for line in LINES if ref in line.ref.split(", ")) > 0, ref


@pytest.mark.parametrize(("kind", "file"), [("wifi_din", "wifi-din"), ("rs485", "rs485")])
def test_a_terminal_for_every_wire(kind: str, file: str) -> None:
    """A rail terminal takes one wire at each of its points; one point of each is for what comes from outside."""
    document = harness.read(hardware.HARDWARE / f"harness/{file}.yml").document
    inside = Counter(
        (name, str(label))
        for chain in document["connections"]
        for part in chain
        for name, labels in part.items()
        if name.startswith("X")
        for label in labels
        # The line to the gateway is what comes from outside at X4.
        if not (name == "X4" and "G1" in chain[0])
    )
    points = {place: 4 if place[0] == "X1" or place in {("X3", "K1 NO"), ("X3", "0V")} else 2 for place in inside}
    # Two terminals, of whose eight points the bridge takes none.
    points["X1", "0V"] = 8
    assert {place: wires for place, wires in inside.items() if wires + 1 > points[place]} == {}
    four = sum(1 for count in points.values() if count > 2) + 1
    assert quantity(kind, "rail terminal", "four wires") == four
    assert quantity(kind, "rail terminal") - four == len(points) - four + 1
    assert quantity(kind, "bridge") == 1


@pytest.mark.parametrize(("kind", "file"), [("wifi_din", "wifi-din"), ("rs485", "rs485"), ("clip_on", "clip-on")])
def test_sensor_at_a_terminal_is_on_the_bill(kind: str, file: str) -> None:
    labels = harness.read(hardware.HARDWARE / f"harness/{file}.yml").document["connectors"]["X2"]["pinlabels"]
    on_bill = {line.ref for line in LINES if line.quantities[kind]}
    assert {label.split()[0] for label in labels} <= on_bill & {"S1", "T1"}


def test_prices_in_the_readme_are_the_bill_s() -> None:
    row = next(
        line for line in (hardware.HARDWARE / "README.md").read_text().splitlines() if line.startswith("| parts, about")
    )
    assert [int(found) for found in re.findall(r"(\d+) EUR", row)] == [
        round(bom.total(LINES, kind)) for kind in ("wifi_din", "rs485", "clip_on")
    ]


def test_price_is_a_dated_estimate() -> None:
    page = (hardware.HARDWARE / "bom.md").read_text()
    assert re.search(r"Prices are estimates.*2\d{3}-\d\d-\d\d", page, re.DOTALL)
    assert bom.total(LINES, "clip_on") == sum(
        (line.unit_eur * line.quantities["clip_on"] for line in LINES), Decimal(0)
    )


@pytest.mark.parametrize(
    "line",
    [
        "A1,x,m,p,,1,0,0,0,cheap,2026-11-26,no,",
        "A1,x,m,p,,1,0,0,0,0,2026-11-26,no,",
        "A1,x,m,p,,1,0,0,0,1.0,soon,no,",
        "A1,x,m,p,,0,0,0,0,1.0,2026-11-26,no,",
        "A1,x,m,p,,one,0,0,0,1.0,2026-11-26,no,",
        "A1,x,m,p,,1,0,0,0,1.0,2026-11-26,perhaps,",
        "A1,x,m,,,1,0,0,0,1.0,2026-11-26,no,",
        "A1,x",
    ],
)
def test_bad_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_text(f"{HEAD}{line}\n")
    with pytest.raises(bom.BomError, match=r"bom\.csv:2"):
        bom.read(path)
