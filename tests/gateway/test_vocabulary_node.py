from __future__ import annotations

import cbor2

from andon_gateway.senml.pack import SENML_CBOR, decode_pack
from andon_gateway.uplink.lineprotocol import Asset, render

ARRIVAL_MS = 1_764_000_000_000


def test_packs_lost_and_times_estimated_reach_the_store() -> None:
    records = [
        {-2: "press-7/", -3: -5, 0: "boot", 2: 3},
        {0: "seq", 2: 9},
        {0: "node/dropped", 1: "count", 2: 41},
        {0: "node/clock", 3: "estimated"},
        {0: "node/clock", 3: "guessed"},
    ]
    pack = decode_pack(cbor2.dumps(records), SENML_CBOR, ARRIVAL_MS)
    assert pack.rejected == {"value": 1}
    lines = render(
        "press-7", 3, Asset("demo", "a1", "l1", "press-7"), [(r.name, r.time_ms, r.value) for r in pack.readings]
    )
    assert lines == [
        'node,area=a1,line=l1,machine=press-7,node=press-7,site=demo dropped=41i,clock="estimated",boots=3i 1763999995000'
    ]
