"""CPU of the gateway per message beside aiocoap, node-coap and mosquitto, and what it promises about memory, nodes and latency.

Run: make bench-gateway [MESSAGES=] [SECONDS=] [PEERS=] [ONLY=] [JSON=1], or python -m bench.gateway --help. The method is in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.gateway import figures, peers, processes
from bench.gateway.costs import Rig
from bench.gateway.endurance import many_nodes, memory_growth
from bench.gateway.queryable import event_to_queryable
from bench.gateway.report import machine, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gateway.figures import Figures

PARTS: Final = ("plain", "oscore", "memory", "nodes", "queryable")
SATURATED_S: Final = 5.0
MEMORY_S: Final = 30.0
MEMORY_MESSAGES: Final = 300_000
ALL_MESSAGES_LIMIT_S: Final = 3600.0
NODES: Final = 128
NOISY: Final = 0.05
"""Share of the servers' core in other hands, above which a figure is not one to be quoted."""


def plain(rig: Rig, wanted: set[str]) -> dict[str, Any]:
    """The figures of `plain` and `paced_500`."""
    servers: dict[str, Callable[[Rig], dict[str, float]]] = {"andon": figures.andon_costs}
    known: dict[str, Callable[[Rig], dict[str, float]]] = {
        "aiocoap": figures.aiocoap_costs,
        "node-coap": figures.node_coap_costs,
        "mosquitto": figures.mosquitto_costs,
    }
    servers |= {name: measure for name, measure in known.items() if name in wanted}
    costs = {name: figures.attempt(rig, name, partial(measure, rig)) for name, measure in servers.items()}
    for name in known.keys() - servers.keys():
        say(f"{name}: null, since PEERS leaves it out")

    def row(kind: str, with_uplink: str) -> dict[str, float | None]:
        return {
            "andon_us": costs["andon"].get(kind),
            "aiocoap_us": costs.get("aiocoap", {}).get(kind),
            "node_coap_us": costs.get("node-coap", {}).get(kind),
            "mosquitto_paho_qos1_us": costs.get("mosquitto", {}).get(kind),
            "andon_with_uplink_us": costs["andon"].get(with_uplink),
        }

    return {"plain": row("alone", "with_uplink"), "paced_500": row("paced", "paced_with_uplink")}


def oscore(rig: Rig, wanted: set[str]) -> dict[str, Any]:
    """The figures of `oscore`."""
    own = figures.attempt(rig, "andon with OSCORE", partial(figures.andon_oscore, rig))
    peer: Figures = {}
    if "aiocoap" in wanted:
        peer = figures.attempt(rig, "aiocoap with OSCORE", partial(figures.aiocoap_oscore, rig))
    else:
        say("aiocoap with OSCORE: null, since PEERS leaves it out")
    return {"oscore": {"andon_us": own.get("alone"), "aiocoap_us": peer.get("alone")}}


def memory(rig: Rig, messages: int | None) -> dict[str, Any]:
    """`rss_growth_kb_per_million`; with MESSAGES= all of them are sent, otherwise as many as fit into half a minute."""
    limit_s = MEMORY_S if messages is None else ALL_MESSAGES_LIMIT_S
    found = figures.attempt(rig, "memory", lambda: memory_growth(rig, messages or MEMORY_MESSAGES, limit_s))
    return {"rss_growth_kb_per_million": found.get("growth"), "rss_growth_messages": found.get("messages")}


def nodes(rig: Rig) -> dict[str, Any]:
    """`nodes_10k`."""
    found = figures.attempt(rig, "10,000 nodes", lambda: many_nodes(rig))
    return {"nodes_10k": {"p99_ms": found.get("p99_ms"), "cpu_share": found.get("cpu_share")}}


def queryable(rig: Rig) -> dict[str, Any]:
    """`event_to_queryable_ms`."""
    found = figures.attempt(rig, "event to queryable", lambda: event_to_queryable(rig))
    return {"event_to_queryable_ms": {"p50": found.get("p50"), "p99": found.get("p99")}}


def _names(known: tuple[str, ...]) -> Callable[[str], set[str]]:
    def parse(text: str) -> set[str]:
        names = set(filter(None, text.replace(" ", ",").split(","))) - {"none"}
        if unknown := names - set(known):
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(known)}"
            )
        return names

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=SATURATED_S, help="length of each saturated window (default %(default)g)"
    )
    parser.add_argument(
        "--messages", type=int, help="messages for the memory's slope (default: as many as fit into half a minute)"
    )
    parser.add_argument(
        "--peers",
        type=_names(peers.PEERS),
        default=set(peers.PEERS),
        help="some of aiocoap,node-coap,mosquitto, or none",
    )
    parser.add_argument("--only", type=_names(PARTS), default=set(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument(
        "--nodes", type=int, default=NODES, help="node identities, and requests on the way (default %(default)d)"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    """Measure and print."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended
    cores = processes.cores()
    os.sched_setaffinity(0, {cores[0]})
    say(machine())
    say(f"generator and stand-in cloud on core {cores[0]}, servers on core {cores[1]}")
    peers.CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=peers.CACHE))
    result: dict[str, Any] = {}
    try:
        if not processes.on_disk(folder):
            sys.exit(f"{folder} is not on a disk: durable would mean nothing; set HOME to a folder on one")
        rig = Rig(folder, cores, options.seconds, options.nodes, say)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "plain": lambda: plain(rig, options.peers),
            "oscore": lambda: oscore(rig, options.peers),
            "memory": lambda: memory(rig, options.messages),
            "nodes": lambda: nodes(rig),
            "queryable": lambda: queryable(rig),
        }
        began = time.monotonic()
        for name, part in parts.items():
            if name in options.only:
                result |= _rounded(part())
        say(f"the run took {time.monotonic() - began:.0f} s")
        worst = max(rig.disturbances, default=0.0)
        if worst > NOISY:
            say(
                f"the machine was not quiet: others used up to {worst:.0%} of the servers' core, so take the figures as upper bounds"
            )
        result["others_on_core"] = round(worst, 3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
