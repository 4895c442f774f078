"""The nodes of a run: each has a socket of its own, packs of its own, and frames that are built before they are sent."""

from __future__ import annotations

import resource
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.gateway.load import CHANGED, CoapLane, LoadError, MqttLane
from bench.gateway.oscore_nodes import OscoreNode, keys
from bench.gateway.packs import PackSource, mqtt_connect, mqtt_publish, pack_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SPARE_FILES: Final = 200
_LOOPBACK: Final = "127.0.0.1"


def names(count: int, first: int = 0) -> list[str]:
    """Node ids."""
    return [f"bench-{number}" for number in range(first, first + count)]


def key_table(count: int) -> dict[str, dict[str, str]]:
    """Keys for the nodes of `names`."""
    return {name: keys(number) for number, name in enumerate(names(count))}


def room_for_sockets(count: int) -> bool:
    """Raise the limit of open files as far as allowed; whether `count` sockets fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard >= count + _SPARE_FILES


def _udp(address: tuple[str, int]) -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(address)
    return link


@dataclass(slots=True)
class PlainNode:
    """Speaks CoAP without protection."""

    source: PackSource
    lane: CoapLane
    number: int = 0

    def prepare(self, count: int) -> None:
        """Build the next frames."""
        for _ in range(count):
            self.lane.frames.append(pack_request(self.number, self.source.next()))
            self.number += 1


@dataclass(slots=True)
class ProtectedNode:
    """Speaks OSCORE; keeps the answers, since from outside they all look like 2.04."""

    source: PackSource
    lane: CoapLane
    security: OscoreNode
    number: int = 0

    def prepare(self, count: int) -> None:
        """Build and encrypt the next frames."""
        for _ in range(count):
            self.lane.frames.append(self.security.pack(self.number, self.source.next()))
            self.number += 1

    def check_answers(self) -> None:
        """Open all answers since the last time.

        Raises:
            LoadError: One of them is not a 2.04.
        """
        answers = self.lane.answers or []
        for answer in answers:
            plain = self.security.open(answer)
            if plain != bytes([CHANGED]):
                raise LoadError(f"{self.source.node} was answered {plain!r}")
        answers.clear()


@dataclass(slots=True)
class MqttNode:
    """Publishes at QoS 1."""

    source: PackSource
    lane: MqttLane
    topic: str = field(default="")
    number: int = 0

    def prepare(self, count: int) -> None:
        """Build the next frames."""
        for _ in range(count):
            self.lane.frames.append(mqtt_publish(self.number, self.topic, self.source.next()))
            self.number += 1


Node = PlainNode | ProtectedNode | MqttNode


def _sources(count: int, first: int = 0) -> Iterator[PackSource]:
    now_ms = time.time_ns() // 1_000_000
    return (PackSource(name, now_ms) for name in names(count, first))


def plain_nodes(count: int, address: tuple[str, int], first: int = 0) -> list[PlainNode]:
    """Nodes towards a CoAP server, numbered from `first`."""
    return [PlainNode(source, CoapLane(_udp(address))) for source in _sources(count, first)]


def protected_nodes(count: int, address: tuple[str, int]) -> list[ProtectedNode]:
    """Nodes towards a CoAP server with OSCORE, which knows the keys of `key_table`; all have proved their freshness.

    Raises:
        LoadError: The server does not take their packs.
    """
    nodes = []
    for source, own in zip(_sources(count), key_table(count).values(), strict=True):
        node = ProtectedNode(source, CoapLane(_udp(address), answers=[]), OscoreNode(source.node, own))
        node.security.settle(node.lane.link, source.next())
        nodes.append(node)
    return nodes


def mqtt_nodes(count: int, port: int) -> list[MqttNode]:
    """Nodes towards a broker, connected.

    Raises:
        LoadError: The broker does not accept them.
    """
    nodes = []
    for source in _sources(count):
        link = socket.create_connection((_LOOPBACK, port))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.send(mqtt_connect(source.node))
        if link.recv(4) != b"\x20\x02\x00\x00":
            raise LoadError("the broker does not accept a connection")
        nodes.append(MqttNode(source, MqttLane(link), f"bench/{source.node}"))
    return nodes


def close(nodes: Sequence[Node]) -> None:
    """Close the sockets."""
    for node in nodes:
        node.lane.link.close()
