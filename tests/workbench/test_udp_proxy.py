from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from andon_workbench.faults.udp_proxy import Address, Impairment, Lottery, UdpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Peer(asyncio.DatagramProtocol):
    """A real UDP socket that remembers what it received and, if asked, answers."""

    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self._answer = answer
        self._changed = asyncio.Event()
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # datagram side
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self.closed.set()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))
        self._changed.set()
        if self._answer is not None:
            self.transport.sendto(self._answer(data), addr)

    async def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @property
    def address(self) -> Address:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port


async def peer(answer: Callable[[bytes], bytes] | None = None) -> Peer:
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(lambda: Peer(answer), local_addr=("127.0.0.1", 0))
    return protocol


@pytest.fixture
async def gateway() -> AsyncIterator[Peer]:
    server = await peer(lambda data: b"answer to " + data)
    yield server
    server.transport.close()


@pytest.fixture
async def nodes() -> AsyncIterator[list[Peer]]:
    peers = [await peer(), await peer()]
    yield peers
    for item in peers:
        item.transport.close()


async def test_clean_proxy_keeps_nodes_apart_and_brings_answers_back(gateway: Peer, nodes: list[Peer]) -> None:
    proxy = UdpProxy(gateway.address, Impairment(), seed=1)
    address = await proxy.open()
    for name, node in zip((b"a", b"b"), nodes, strict=True):
        node.transport.sendto(name, address)
        await node.until(lambda node=node: len(node.received) == 1)  # type: ignore[misc]  # bound for this turn
        assert node.received == [(b"answer to " + name, address)]
    assert len({source for _, source in gateway.received}) == 2
    # A command from the gateway, much later, to the address it knows for the second node.
    gateway.transport.sendto(b"command", gateway.received[1][1])
    await nodes[1].until(lambda: len(nodes[1].received) == 2)
    assert nodes[1].received[-1] == (b"command", address)
    proxy.close()


async def test_loss_is_exactly_what_the_seed_says(gateway: Peer, nodes: list[Peer]) -> None:
    impairment = Impairment(loss=0.3, duplicate=0.1)
    lottery = Lottery(impairment, "42/up")
    expected = [len(lottery.draw()) for _ in range(300)]
    gateway._answer = None
    proxy = UdpProxy(gateway.address, impairment, seed=42)
    address = await proxy.open()
    for number in range(300):
        nodes[0].transport.sendto(b"%d" % number, address)
        if number % 20 == 19:
            # In lots, so that the kernel's receive buffer is never the one that drops.
            await gateway.until(lambda number=number: len(gateway.received) == sum(expected[: number + 1]))  # type: ignore[misc]  # bound for this turn
    copies = Counter(int(data) for data, _ in gateway.received)
    assert [copies[number] for number in range(300)] == expected
    assert proxy.counts.lost["up"] == expected.count(0)
    assert proxy.counts.doubled["up"] == expected.count(2)
    assert proxy.counts.received["up"] == 300
    proxy.close()


def test_share_of_losses_follows_the_setting() -> None:
    lottery = Lottery(Impairment(loss=0.2, duplicate=0.05), "1/up")
    copies = Counter(len(lottery.draw()) for _ in range(20_000))
    assert copies[0] / 20_000 == pytest.approx(0.2, abs=0.01)
    assert copies[2] / 20_000 == pytest.approx(0.8 * 0.05, abs=0.005)


def test_same_seed_same_fate_other_seed_other_fate() -> None:
    impairment = Impairment(loss=0.5, delay_s=1.0)
    one, same, other = (Lottery(impairment, seed) for seed in ("1/up", "1/up", "2/up"))
    fates = [one.draw() for _ in range(50)]
    assert fates == [same.draw() for _ in range(50)]
    assert fates != [other.draw() for _ in range(50)]


async def test_reordered_datagrams_are_overtaken_but_arrive(gateway: Peer, nodes: list[Peer]) -> None:
    gateway._answer = None
    proxy = UdpProxy(gateway.address, Impairment(reorder=0.5, reorder_by_s=0.05), seed=3)
    address = await proxy.open()
    for number in range(40):
        nodes[0].transport.sendto(b"%02d" % number, address)
    await gateway.until(lambda: len(gateway.received) == 40)
    order = [data for data, _ in gateway.received]
    assert sorted(order) == [b"%02d" % number for number in range(40)]
    assert order != sorted(order)
    proxy.close()


async def test_gateway_that_is_away_for_a_while_is_found_again_on_its_port(nodes: list[Peer]) -> None:
    first = await peer(lambda data: data)
    address = first.address
    proxy = UdpProxy(address, Impairment(), seed=1)
    listen = await proxy.open()
    node = nodes[0]
    node.transport.sendto(b"before", listen)
    await node.until(lambda: len(node.received) == 1)
    first.transport.close()
    await first.closed.wait()
    node.transport.sendto(b"lost", listen)
    loop = asyncio.get_running_loop()
    _, second = await loop.create_datagram_endpoint(lambda: Peer(lambda data: data), local_addr=address)

    async def retransmit() -> None:
        while True:
            node.transport.sendto(b"after", listen)
            await asyncio.sleep(0.05)

    sender = asyncio.create_task(retransmit())
    await node.until(lambda: any(data == b"after" for data, _ in node.received))
    sender.cancel()
    assert len({source for _, source in second.received}) == 1
    second.transport.close()
    proxy.close()
