"""The servers that are compared, each started, warmed up and looked at in the same way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.gateway import andon, fleet, peers
from bench.gateway.costs import PACED_LONGER, Subject, paced_us, saturated_us, warm_up
from bench.gateway.load import LoadError
from bench.gateway.packs import READINGS
from bench.gateway.rounds import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.gateway.andon import AndonGateway
    from bench.gateway.costs import Rig
    from bench.gateway.fleet import Node
    from bench.gateway.processes import ServerProcess


def saturated(rig: Rig, subject: Subject) -> float:
    """One round's window of `saturated_us`."""
    return saturated_us(rig, subject, rig.seconds / ROUNDS)


def paced(rig: Rig, subject: Subject) -> float:
    """One round's window of `paced_us`."""
    return paced_us(rig, subject, rig.seconds * PACED_LONGER / ROUNDS)


class AndonPlain:
    """The gateway, plain: with the uplink's work when it is started, then, the cloud away, in turns with the others.

    Attributes:
        with_uplink: Figures by kind of load.
    """

    def __init__(self) -> None:
        self.with_uplink: dict[str, float] = {}

    @contextmanager
    def start(self, rig: Rig) -> Iterator[Subject]:
        """An entrant of `rounds.compare`."""
        with (
            andon.run_with_stand_in(rig.folder / "andon-plain", rig.cores, fleet.names(rig.nodes)) as gateway,
            _fleet(fleet.plain_nodes(rig.nodes, gateway.coap)) as nodes,
        ):
            subject = Subject("andon with uplink", [gateway.process], nodes, _uplink_done(gateway))
            warm_up(rig, subject)
            self.with_uplink["saturated"] = saturated_us(rig, subject, rig.seconds)
            self.with_uplink["paced"] = paced_us(rig, subject, rig.seconds * PACED_LONGER)
            gateway.send_cloud_away()
            subject.name, subject.finish = "andon", lambda _messages: None
            subject.check = _commits_checked(rig, gateway)
            warm_up(rig, subject)
            yield subject


@contextmanager
def andon_oscore(rig: Rig) -> Iterator[Subject]:
    """The gateway with OSCORE, the cloud away."""
    names, keys = fleet.names(rig.nodes), fleet.key_table(rig.nodes)
    with andon.run_with_stand_in(rig.folder / "andon-oscore", rig.cores, names, keys) as gateway:
        gateway.send_cloud_away()
        with _fleet(fleet.protected_nodes(rig.nodes, gateway.coap)) as nodes:
            subject = Subject(
                "andon with OSCORE",
                [gateway.process],
                nodes,
                check=_commits_checked(rig, gateway),
                sent=len(nodes),  # each has sent a pack to prove its freshness
            )
            warm_up(rig, subject)
            yield subject


@contextmanager
def aiocoap(rig: Rig) -> Iterator[Subject]:
    """Plain aiocoap."""
    with (
        peers.run_aiocoap(rig.folder, rig.cores[1]) as server,
        _fleet(fleet.plain_nodes(rig.nodes, _address(server))) as nodes,
    ):
        subject = Subject("aiocoap", [server], nodes, check=_count_checked(server))
        warm_up(rig, subject)
        yield subject


@contextmanager
def aiocoap_oscore(rig: Rig) -> Iterator[Subject]:
    """Plain aiocoap with OSCORE; its contexts are in memory."""
    with (
        peers.run_aiocoap(rig.folder, rig.cores[1], fleet.key_table(rig.nodes)) as server,
        _fleet(fleet.protected_nodes(rig.nodes, _address(server))) as nodes,
    ):
        subject = Subject("aiocoap with OSCORE", [server], nodes, check=_count_checked(server))
        warm_up(rig, subject)
        yield subject


@contextmanager
def node_coap(rig: Rig) -> Iterator[Subject]:
    """Plain node-coap."""
    with (
        peers.run_node_coap(rig.folder, rig.cores[1], rig.say) as server,
        _fleet(fleet.plain_nodes(rig.nodes, _address(server))) as nodes,
    ):
        subject = Subject("node-coap", [server], nodes, check=_count_checked(server))
        warm_up(rig, subject)
        yield subject


@contextmanager
def mosquitto(rig: Rig) -> Iterator[Subject]:
    """Broker and paho subscriber together, QoS 1 on both ways; a message counts when the subscriber has decoded it."""
    with (
        peers.run_mosquitto(rig.folder, rig.cores[1]) as (port, broker, subscriber),
        _fleet(fleet.mqtt_nodes(rig.nodes, port)) as nodes,
    ):

        def finish(messages: int) -> None:
            andon.wait_until(lambda: subscriber.ask_count() >= messages, f"{messages} packs at the subscriber", 120)

        subject = Subject("mosquitto and paho", [broker, subscriber], nodes, finish)
        warm_up(rig, subject)
        yield subject


@contextmanager
def _fleet(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    try:
        yield nodes
    finally:
        fleet.close(nodes)


def _address(server: ServerProcess) -> tuple[str, int]:
    return "127.0.0.1", int(server.ready()["port"])


def _uplink_done(gateway: AndonGateway) -> Callable[[int], None]:
    """Waits until the cloud has every line of the accepted packs: the work that it takes belongs to their cost."""

    def finish(messages: int) -> None:
        wanted = messages * READINGS
        andon.wait_until(lambda: gateway.lines_at_cloud() >= wanted, f"{wanted} lines at the cloud", 180)

    return finish


def _commits_checked(rig: Rig, gateway: AndonGateway) -> Callable[[int], None]:
    """The gateway's own count of packs has to be the generator's."""

    def check(messages: int) -> None:
        metrics = gateway.metrics()
        taken, commits = metrics["packs_total"], metrics["commits_total"]
        if taken != messages:
            raise LoadError(f"the gateway counts {taken:g} packs, the generator {messages} answers of 2.04")
        rig.say(f"andon: {taken:.0f} packs, all answered ones counted, {commits:.0f} group commits (synchronous=FULL)")

    return check


def _count_checked(server: ServerProcess) -> Callable[[int], None]:
    def check(messages: int) -> None:
        if server.ask_count() < messages:
            raise LoadError(f"{server.name} answered more than it handled")

    return check
