"""The names beyond temperature: the gateway's vocabulary, the firmware's units and docs/protocol.md say the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import cbor2
import pytest

from andon_gateway.senml.pack import SENML_CBOR, decode_pack
from andon_gateway.uplink.lineprotocol import Asset, render
from andon_gateway.vocabulary import COUNTED, FAULTS, MEASURED, SWITCHED

ROOT = Path(__file__).resolve().parents[2]
ARRIVAL_MS = 1_764_000_000_000
ASSET = Asset("demo", "a1", "l1", "press-7")


def lines(*records: dict[int, object]) -> list[str]:
    payload = cbor2.dumps([{-2: "press-7/", 0: "boot", 2: 1}, {0: "seq", 2: 0}, *records])
    pack = decode_pack(payload, SENML_CBOR, ARRIVAL_MS)
    assert not pack.rejected
    return render("press-7", 1, ASSET, [(item.name, item.time_ms, item.value) for item in pack.readings])


def test_the_firmware_has_the_same_units() -> None:
    units = runpy.run_path(str(ROOT / "firmware/andon_node/drivers/quantities.py"))["UNITS"]
    assert units == {kind: unit for kind, (_, unit) in MEASURED.items()}


@pytest.mark.parametrize("kind", [*MEASURED, *COUNTED, *SWITCHED])
def test_the_protocol_names_every_quantity_with_its_unit_and_field(kind: str) -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    field, unit = (MEASURED | COUNTED).get(kind, ("on", None))
    table = [line for line in text.splitlines() if line.startswith("| `") and f"`{kind}" in line.split("|")[1]]
    assert table
    assert unit is None or any(f"`{unit}`" in line for line in table)
    assert re.search(rf"  {kind},(\.\.\.|area)[^ ]* {field}=", text)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_the_protocol_names_every_fault(fault: str) -> None:
    assert f"`{fault}`" in (ROOT / "docs/protocol.md").read_text()
    assert lines({0: "pressure/3/fault", 3: fault}) == [
        f'pressure,area=a1,channel=3,line=l1,machine=press-7,node=press-7,site=demo fault="{fault}" {ARRIVAL_MS}'
    ]


def test_rendering() -> None:
    assert [
        line.split(",")[0] + " " + line.split(" ")[1]
        for line in lines(
            {0: "humidity/0", 1: "%RH", 2: 48.25},
            {0: "energy/0", 1: "J", 2: 10800},
            {0: "input/2", 4: True},
            {0: "meter/1", 1: "J", 2: 4294967295 * 36000},
        )
    ] == ["humidity percent=48.25", "energy joule=10800i", "input on=true", "meter joule=154618822620000.0"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({0: "humidity/0", 1: "Cel", 2: 1.0}, "unit"),
        ({0: "energy/0", 1: "J", 2: 1.5}, "type"),
        ({0: "input/0", 2: 1}, "type"),
        ({0: "energy/0", 1: "J", 2: -1}, "value"),
        ({0: "entropy/0", 2: 1.0}, "name"),
        ({0: "input/0/fault", 3: "absent"}, "name"),
    ],
)
def test_what_does_not_fit_is_dropped_alone(record: dict[int, object], reason: str) -> None:
    payload = cbor2.dumps([{-2: "press-7/", 0: "boot", 2: 1}, {0: "seq", 2: 0}, record])
    assert decode_pack(payload, SENML_CBOR, ARRIVAL_MS).rejected == {reason: 1}
