"""Everything between boards and gateway is protected: nothing is lost by it, nothing readable leaves, no recording is believed."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S
from e2e.test_exactly_once import assert_store_equals_ledger, readings_taken

from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_workbench.factory import Factory

pytestmark = pytest.mark.needs_capability("fleet")

_OSCORE = 9
_REPLAYS = 20


def metric(factory: Factory, name: str) -> float:
    """The sum of a metric of the gateway over its labels."""
    host, port = factory.gateway.address("http")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    wanted = f"andon_gateway_{name}"
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == wanted)


class Listener:
    """Hears what the nodes send through the proxy."""

    def __init__(self, factory: Factory) -> None:
        assert factory.proxy is not None
        self.heard: list[bytes] = []
        proxy = factory.proxy
        forward = proxy._from_node

        def hear(data: bytes, node: tuple[str, int]) -> None:
            self.heard.append(data)
            forward(data, node)

        # The transport holds the bound method itself, so the receiver's callback is replaced.
        assert proxy._listener is not None
        proxy._listener.get_protocol()._received = hear  # type: ignore[attr-defined]  # the proxy's own protocol

    def protected(self) -> list[bytes]:
        """Requests with an OSCORE option, which comes first: the delta of the first option is its number."""
        return [data for data in self.heard if data[1] and data[4 + (data[0] & 15)] >> 4 == _OSCORE]


async def test_loss_kill_and_recordings(build: Callable[[FactoryPlan], Factory]) -> None:
    impairment = Impairment(loss=0.2, duplicate=0.1, delay_s=0.02, reorder=0.1)
    async with build(FactoryPlan(nodes=2, seed=21, impairment=impairment)) as factory:
        listener = Listener(factory)
        assert await factory.first_readings(START_LIMIT_S) == []
        assert metric(factory, "nodes_with_keys") == 2
        await readings_taken(factory, 16, limit_s=60)
        await factory.kill_gateway()
        await readings_taken(factory, 4, limit_s=60)
        await factory.restart_gateway()
        await readings_taken(factory, 12, limit_s=60)
        # A node counts what it has measured, which says nothing about the gateway: without a proof of freshness nothing is a replay to it.
        await packs_arrive(factory, limit_s=60)
        recorded = listener.protected()
        assert len(recorded) > _REPLAYS
        assert not any(b"temperature" in data or b"cycles" in data for data in listener.heard)
        taken = metric(factory, "packs_total") + metric(factory, "duplicate_packs_total")
        await asyncio.to_thread(replay, recorded[-_REPLAYS:], factory.gateway.address("coap"))
        assert metric(factory, "oscore_refused_total") > 0
        factory.impair(Impairment())
        await assert_store_equals_ledger(factory, least=24)
        assert metric(factory, "packs_total") + metric(factory, "duplicate_packs_total") > taken
        assert metric(factory, "refused_packs_total") == 0
        assert metric(factory, "rejected_records_total") == 0


async def packs_arrive(factory: Factory, limit_s: float) -> None:
    """Wait until the gateway has taken a pack since its start."""
    async with asyncio.timeout(limit_s):
        while metric(factory, "packs_total") + metric(factory, "duplicate_packs_total") == 0:  # noqa: ASYNC110 -- another process: there is no event
            await asyncio.sleep(0.1)


def replay(recorded: list[bytes], gateway: tuple[str, int]) -> None:
    """Send recordings from elsewhere, with message ids of their own: none may be taken a second time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.settimeout(30)
        for number, data in enumerate(recorded):
            attacker.sendto(data[:2] + number.to_bytes(2, "big") + data[4:], gateway)
            code = final_answer(attacker, token_of(data))
            # 4.01: a replay. 2.04 outside: a challenge, or what a lost datagram had to say and is still new.
            # 5.03: a node whose freshness is not yet proven after the gateway's start has had its challenges for now.
            assert code in (0x81, 0x44, 0xA3), f"{code:02x}"


def token_of(data: bytes) -> bytes:
    """The token of a CoAP message (RFC 7252 3)."""
    return data[4 : 4 + (data[0] & 15)]


def final_answer(attacker: socket.socket, token: bytes) -> int:
    """The code of the response with this token: an empty acknowledgement may come before it (RFC 7252 5.2.2)."""
    while True:
        answer = attacker.recv(2048)
        if answer[1] and token_of(answer) == token:
            return answer[1]
