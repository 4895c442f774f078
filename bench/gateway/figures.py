"""One function for each figure of the JSON line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.gateway import andon, fleet, peers
from bench.gateway.costs import Subject, paced_us, saturated_us
from bench.gateway.load import LoadError
from bench.gateway.packs import READINGS
from bench.gateway.processes import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gateway.andon import AndonGateway
    from bench.gateway.costs import Rig
    from bench.gateway.processes import ServerProcess

Figures = dict[str, float]


def attempt(rig: Rig, what: str, measure: Callable[[], dict[str, float]]) -> Figures:
    """Measure; where that cannot be, nothing is found and the reason is printed."""
    try:
        return measure()
    except (peers.PeerMissingError, ServerError, LoadError, OSError) as error:
        rig.say(f"{what}: null, since {error}")
        return {}


def andon_costs(rig: Rig) -> dict[str, float]:
    """The gateway, plain: with the uplink's work, then, the cloud away, without it; saturated and paced."""
    folder = rig.folder / "andon-plain"
    with andon.run_with_stand_in(folder, rig.cores, fleet.names(rig.nodes)) as gateway:
        nodes = fleet.plain_nodes(rig.nodes, gateway.coap)
        subject = Subject("andon with uplink", [gateway.process], nodes, _uplink_done(gateway))
        costs = {"with_uplink": saturated_us(rig, subject), "paced_with_uplink": paced_us(rig, subject)}
        gateway.send_cloud_away()
        subject.name, subject.finish = "andon", lambda _messages: None
        costs |= {"alone": saturated_us(rig, subject), "paced": paced_us(rig, subject)}
        _report_commits(rig, gateway, subject.sent)
        fleet.close(nodes)
    return costs


def _uplink_done(gateway: AndonGateway) -> Callable[[int], None]:
    """Waits until the cloud has every line of the accepted packs: the work that it takes belongs to their cost."""

    def finish(messages: int) -> None:
        wanted = messages * READINGS
        andon.wait_until(lambda: gateway.lines_at_cloud() >= wanted, f"{wanted} lines at the cloud", 180)

    return finish


def _report_commits(rig: Rig, gateway: AndonGateway, messages: int) -> None:
    metrics = gateway.metrics()
    taken, commits = metrics["packs_total"], metrics["commits_total"]
    if taken != messages:
        raise LoadError(f"the gateway counts {taken:g} packs, the generator {messages} answers of 2.04")
    rig.say(f"andon: {taken:.0f} packs, all answered ones counted, {commits:.0f} group commits (synchronous=FULL)")


def aiocoap_costs(rig: Rig) -> dict[str, float]:
    """Plain aiocoap."""
    with peers.run_aiocoap(rig.folder, rig.cores[1]) as server:
        return _coap_peer(rig, "aiocoap", server)


def node_coap_costs(rig: Rig) -> dict[str, float]:
    """Plain node-coap."""
    with peers.run_node_coap(rig.folder, rig.cores[1], rig.say) as server:
        return _coap_peer(rig, "node-coap", server)


def _coap_peer(rig: Rig, name: str, server: ServerProcess) -> dict[str, float]:
    nodes = fleet.plain_nodes(rig.nodes, ("127.0.0.1", int(server.ready()["port"])))
    subject = Subject(name, [server], nodes)
    costs = {"alone": saturated_us(rig, subject), "paced": paced_us(rig, subject)}
    if server.ask_count() < subject.sent:
        raise LoadError(f"{name} answered more than it handled")
    fleet.close(nodes)
    return costs


def mosquitto_costs(rig: Rig) -> dict[str, float]:
    """Broker and paho subscriber together, QoS 1 on both ways; a message counts when the subscriber has decoded it."""
    with peers.run_mosquitto(rig.folder, rig.cores[1]) as (port, broker, subscriber):
        nodes = fleet.mqtt_nodes(rig.nodes, port)

        def finish(messages: int) -> None:
            andon.wait_until(lambda: subscriber.ask_count() >= messages, f"{messages} packs at the subscriber", 120)

        subject = Subject("mosquitto and paho", [broker, subscriber], nodes, finish)
        costs = {"alone": saturated_us(rig, subject), "paced": paced_us(rig, subject)}
        fleet.close(nodes)
    return costs


def andon_oscore(rig: Rig) -> dict[str, float]:
    """The gateway with OSCORE, the cloud away."""
    folder = rig.folder / "andon-oscore"
    names, keys = fleet.names(rig.nodes), fleet.key_table(rig.nodes)
    with andon.run_with_stand_in(folder, rig.cores, names, keys) as gateway:
        gateway.send_cloud_away()
        nodes = fleet.protected_nodes(rig.nodes, gateway.coap)
        subject = Subject("andon with OSCORE", [gateway.process], nodes, sent=len(nodes))
        cost = saturated_us(rig, subject)
        _report_commits(rig, gateway, subject.sent)
        fleet.close(nodes)
    return {"alone": cost}


def aiocoap_oscore(rig: Rig) -> dict[str, float]:
    """Plain aiocoap with OSCORE; its contexts are in memory."""
    with peers.run_aiocoap(rig.folder, rig.cores[1], fleet.key_table(rig.nodes)) as server:
        nodes = fleet.protected_nodes(rig.nodes, ("127.0.0.1", int(server.ready()["port"])))
        cost = saturated_us(rig, Subject("aiocoap with OSCORE", [server], nodes))
        fleet.close(nodes)
    return {"alone": cost}
