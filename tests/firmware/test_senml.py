"""Packs written by the node, decoded by cbor2 and compared with the protocol's vectors."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from firmware.micropython_vm import ROOT, LineVm
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

# One JSON document per line: {node, boot, seq, base_ms, records: [[name, unit, value, ms]]}; answers the pack in hex,
# or with `text` the records that fitted.
WRITER = """
import json
from binascii import hexlify
from andon_node import senml
from andon_node.cbor import BufferFullError

def answer(line):
    wanted = json.loads(line)
    writer = senml.PackWriter(wanted["node"] + "/")
    writer.begin()
    writer.base("boot", wanted["boot"], 0)
    writer.record("seq", None, wanted["seq"], 0)
    full = 0
    for name, unit, value, ms in wanted["records"]:
        if unit == "Cel":
            value = value / 1
        try:
            writer.record(name, unit, value, ms)
        except BufferFullError:
            full += 1
    pack = writer.finish()
    senml.set_base_time(pack, writer.base_time_at, wanted["base_ms"])
    return "%d %s" % (full, hexlify(pack).decode())
"""

UNITS = {"temperature": "Cel", "cycles": "count", "relay": None, "heap_free": "B", "rssi": "dBm", "uptime_s": "s"}


@pytest.fixture(scope="module")
def writer() -> Iterator[LineVm]:
    vm = LineVm(WRITER)
    yield vm
    vm.close()


def written(writer: LineVm, **document: Any) -> tuple[int, list[dict[int, Any]], bytes]:
    full, _, hexed = writer.ask(json.dumps(document)).partition(" ")
    data = bytes.fromhex(hexed)
    return int(full), cbor2.loads(data), data


def unit_of(name: str) -> str | None:
    parts = name.split("/")
    if parts[-1] == "fault":
        return None
    return UNITS.get(parts[1] if parts[0] == "node" else parts[0], "count")


def vectors() -> list[dict[str, Any]]:
    packs: list[dict[str, Any]] = json.loads((ROOT / "tests" / "vectors" / "packs.json").read_text())["packs"]
    return [pack for pack in packs if not pack.get("refused") and not pack["rejected"]]


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
def test_writes_what_the_vectors_hold(writer: LineVm, vector: dict[str, Any]) -> None:
    expected = cbor2.loads(bytes.fromhex(vector["cbor"]))
    base_ms = int(Decimal(expected[0][-3]) * 1000)
    records = [
        [name, unit_of(name), value, time_ms - (base_ms if base_ms > 0 else vector["arrival_ms"] + base_ms)]
        for name, time_ms, value in vector["readings"]
    ]
    full, pack, _ = written(
        writer,
        node=vector["node"],
        boot=vector["boot"],
        seq=vector["seq"],
        base_ms=base_ms,
        records=records,
    )
    assert full == 0
    assert [{**record, 6: record.get(6, 0)} for record in pack] == [{**r, 6: r.get(6, 0)} for r in expected]


names = st.sampled_from(["temperature/0", "cycles/7", "relay/1", "temperature/3/fault", "node/rssi"])
raw_temperature = st.integers(-880, 2000).map(lambda raw: raw / 16)


@st.composite
def records(draw: st.DrawFn) -> list[Any]:
    name = draw(names)
    value: Any
    if name == "temperature/0":
        value = draw(raw_temperature)
    elif name.endswith("fault"):
        value = draw(st.sampled_from(["ok", "crc", "absent", "power-on", "range"]))
    elif name == "relay/1":
        value = draw(st.booleans())
    else:
        value = draw(st.integers(0, 2**40) if name.startswith("cycles") else st.integers(-120, 0))
    return [name, unit_of(name), value, draw(st.integers(0, 100_000))]


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(records(), max_size=70),
    base_ms=st.integers(-(2**31), 2**45),
    boot=st.integers(1, 2**32),
    seq=st.integers(0, 2**32),
)
def test_every_pack_decodes_to_what_was_recorded(
    writer: LineVm, items: list[Any], base_ms: int, boot: int, seq: int
) -> None:
    full, pack, data = written(writer, node="press-1", boot=boot, seq=seq, base_ms=base_ms, records=items)
    assert len(data) <= 1024
    assert len(pack) <= 64
    head, second, *readings = pack
    assert head == {-2: "press-1/", -3: Decimal(base_ms) / 1000, 0: "boot", 2: boot}
    assert second == {0: "seq", 2: seq}
    assert len(readings) + full == len(items)
    # What did not fit left no trace: those that did are a subsequence with nothing in between.
    found = [(r[0], r.get(2, r.get(3, r.get(4))), Decimal(r.get(6, 0)) * 1000) for r in readings]
    remaining = iter([(name, value, Decimal(ms)) for name, _, value, ms in items])
    assert all(record in remaining for record in found)
