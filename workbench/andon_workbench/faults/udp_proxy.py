"""UDP proxy between nodes and gateway that loses, delays, doubles and reorders datagrams under a seed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Address = tuple[str, int]
_MAX_PEERS = 1024


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to datagrams: shares from 0 to 1, times in seconds.

    Each datagram that is not lost waits uniformly between 0 and `delay_s`; a share `reorder` of them waits
    `reorder_by_s` longer, so that later ones overtake it.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    delay_s: float = 0.0
    reorder: float = 0.0
    reorder_by_s: float = 0.05


class Lottery:
    """Decides the fate of the datagrams of one direction: the n-th datagram's fate depends on seed and n alone."""

    def __init__(self, impairment: Impairment, seed: str) -> None:
        self.impairment = impairment
        self._rng = Random(seed)  # noqa: S311  repeatable faults, not secrets

    def draw(self) -> list[float]:
        """Delays in seconds of the copies that arrive: none when lost, two when doubled."""
        lost, doubled, *waits = (self._rng.random() for _ in range(6))
        if lost < self.impairment.loss:
            return []
        copies = 2 if doubled < self.impairment.duplicate else 1
        return [self._delay(waits[2 * copy], waits[2 * copy + 1]) for copy in range(copies)]

    def _delay(self, wait: float, late: float) -> float:
        delay = wait * self.impairment.delay_s
        return delay + self.impairment.reorder_by_s if late < self.impairment.reorder else delay


@dataclass(slots=True)
class ProxyCounts:
    """Datagrams per direction (`up` to the gateway, `down` to the nodes): received, lost, doubled."""

    received: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)


class UdpProxy:
    """Forwards between nodes and one gateway address.

    Each node address gets an upstream socket of its own, so the gateway sees distinct nodes and its commands find
    their way back through the proxy.

    Attributes:
        passed_down_s: When the newest datagram of the gateway went on to a node (CLOCK_MONOTONIC).
        on_answer: Called in the instant in which a datagram of the gateway arrives, before it goes on.
    """

    on_answer: Callable[[], None] | None = None

    def __init__(self, gateway: Address, impairment: Impairment, seed: int) -> None:
        self.counts = ProxyCounts()
        self.passed_down_s = 0.0
        self._gateway = gateway
        self._lotteries = {way: Lottery(impairment, f"{seed}/{way}") for way in ("up", "down")}
        self._listener: asyncio.DatagramTransport | None = None
        self._upstream: dict[Address, asyncio.DatagramTransport] = {}
        self._opening: dict[Address, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Listen for nodes; return the address they must use as their gateway."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self._from_node), local_addr=(host, port))
        self._listener = transport
        return cast("Address", transport.get_extra_info("sockname")[:2])

    def change(self, impairment: Impairment) -> None:
        """Treat datagrams differently from now on; the sequence of random numbers goes on."""
        for lottery in self._lotteries.values():
            lottery.impairment = impairment

    def close(self) -> None:
        """Stop forwarding and release every socket."""
        for task in self._tasks:
            task.cancel()
        for transport in (self._listener, *self._upstream.values()):
            if transport is not None:
                transport.close()
        self._upstream.clear()
        self._listener = None

    def _from_node(self, data: bytes, node: Address) -> None:
        for delay in self._fate("up"):
            asyncio.get_running_loop().call_later(delay, self._send_up, data, node)

    def _from_gateway(self, data: bytes, node: Address) -> None:
        if self.on_answer is not None:
            self.on_answer()
        for delay in self._fate("down"):
            asyncio.get_running_loop().call_later(delay, self._send_down, data, node)

    def _fate(self, way: str) -> list[float]:
        delays = self._lotteries[way].draw()
        self.counts.received[way] += 1
        self.counts.lost[way] += not delays
        self.counts.doubled[way] += len(delays) > 1
        return delays

    def _send_up(self, data: bytes, node: Address) -> None:
        transport = self._upstream.get(node)
        if transport is not None:
            transport.sendto(data)
            return
        if self._listener is None:
            return
        waiting = self._opening.setdefault(node, [])
        waiting.append(data)
        if len(waiting) == 1:
            task = asyncio.create_task(self._connect(node))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _send_down(self, data: bytes, node: Address) -> None:
        if self._listener is not None:
            self._listener.sendto(data, node)
            self.passed_down_s = time.monotonic()

    async def _connect(self, node: Address) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Receiver(lambda data, _: self._from_gateway(data, node)), remote_addr=self._gateway
        )
        if len(self._upstream) >= _MAX_PEERS:
            oldest = next(iter(self._upstream))
            self._upstream.pop(oldest).close()
        self._upstream[node] = transport
        for data in self._opening.pop(node):
            transport.sendto(data)


class _Receiver(asyncio.DatagramProtocol):
    """Hands datagrams on; a refused port (the gateway is down) is a loss like any other."""

    def __init__(self, received: Any) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._received(data, addr[:2])
