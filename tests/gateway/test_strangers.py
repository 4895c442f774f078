"""Unknown keys: remembered within bounds as logic, told to the cloud by the running gateway, gone when the keys arrive."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from gateway.gateway_process import GatewayProcess
from gateway.oscore_peer import OscoreNode, Wire, keys
from gateway.packs import pack, temperature
from gateway.test_commands import until
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.nodes.strangers import MOST, NEW_EVERY_MS, SILENT_MS, Strangers
from andon_gateway.nodes.table import Address

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.stand_in_cloud import StandInCloud

HERE, THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.binary(max_size=10), st.integers(0, 5000)), max_size=300))
def test_whatever_comes_is_bounded_in_number_rate_and_size(messages: list[tuple[bytes, int]]) -> None:
    strangers, now_ms = Strangers(), 0
    first: list[int] = []
    for kid, pause_ms in messages:
        now_ms += pause_ms
        before = set(strangers.present(now_ms))
        strangers.heard(kid, HERE, now_ms)
        present = strangers.present(now_ms)
        assert len(present) <= MOST
        assert all(len(name) <= 7 for name in present)
        if set(present) - before and not present[kid].messages > 1:
            first.append(now_ms)
    assert all(later - earlier >= NEW_EVERY_MS for earlier, later in itertools.pairwise(first))


def test_a_flood_of_invented_kids_does_not_push_out_who_goes_on_speaking() -> None:
    strangers = Strangers()
    strangers.heard(b"\x07", HERE, 0)
    for number in range(MOST * 3):
        now_ms = (number + 1) * NEW_EVERY_MS
        strangers.heard((number + 100).to_bytes(3, "big"), THERE, now_ms)
        strangers.heard(b"\x07", HERE, now_ms)
    assert strangers.present(now_ms)[b"\x07"].messages == MOST * 3 + 1
    assert len(strangers.present(now_ms)) == MOST
    assert strangers.present(now_ms + SILENT_MS) == {}
    strangers.heard(b"\x09", HERE, now_ms + SILENT_MS)
    assert list(strangers.present(now_ms + SILENT_MS)) == [b"\x09"], "the silent make room"


async def test_keys_that_are_not_here_are_told_until_they_are(tmp_path: Path, cloud: StandInCloud) -> None:
    cloud.mount("press-7")
    gateway = GatewayProcess(tmp_path, cloud.url, unprotected='["oven-1"]').start()
    try:
        wire = Wire(gateway.coap_port)
        node = OscoreNode(keys(7), gateway.coap_port)
        async with node:
            for number in range(3):
                refused = wire.exchange(node.protected(aiocoap.POST, "t", b"", mid=number + 1))
                assert refused.code == aiocoap.UNAUTHORIZED
        await until(lambda: any(item["keys"] for item in cloud.quarantine), "the report")
        (told,) = cloud.quarantine[-1]["keys"]
        assert (told["kid"], told["node"]) == ("07", None)
        assert told["messages"] >= 1
        assert told["address"].startswith("coap://127.0.0.1:")
        cloud.give_keys(press_7=keys(7))
        await until(lambda: cloud.quarantine[-1]["keys"] == [], "the end of the report")
        wire.close()
    finally:
        gateway.kill()


async def test_what_an_unknown_node_sent_is_told(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    gateway.start()
    await until(lambda: cloud.streams, "the stream")
    async with OscoreNode(None, gateway.coap_port) as node:
        for seq, celsius in enumerate((20.5, 21.5)):
            content = pack("press-9", 1, seq, temperature(celsius))
            assert (await node.ask(aiocoap.POST, "t", content, content_format=112)).code == aiocoap.CHANGED
    await until(lambda: any(item["nodes"] for item in cloud.quarantine), "the report")
    (told,) = cloud.quarantine[-1]["nodes"]
    assert (told["node"], told["sent"]) == ("press-9", {"temperature/0": 21.5})
