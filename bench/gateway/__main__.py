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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.gateway import figures, fleet, peers, processes
from bench.gateway.costs import Rig
from bench.gateway.endurance import many_nodes, memory_growth
from bench.gateway.queryable import event_to_queryable
from bench.gateway.report import machine, say
from bench.gateway.rounds import attempt, compare, middle, report, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gateway.rounds import Entrant

PARTS: Final = ("plain", "oscore", "memory", "nodes", "queryable")
SATURATED_S: Final = 10.0
MEMORY_S: Final = 30.0
MEMORY_MESSAGES: Final = 300_000
ALL_MESSAGES_LIMIT_S: Final = 3600.0
NODES: Final = 128
NOISY: Final = 0.05
"""Share of the servers' core in other hands, above which a figure is not one to be quoted."""


def plain(rig: Rig, wanted: set[str]) -> dict[str, Any]:
    """The figures of `plain` and `paced_500`, with their spread over the rounds."""
    own = figures.AndonPlain()
    known: dict[str, Entrant] = {
        "aiocoap": figures.aiocoap,
        "node-coap": figures.node_coap,
        "mosquitto": figures.mosquitto,
    }
    entrants = {"andon": own.start} | {name: start for name, start in known.items() if name in wanted}
    for name in known.keys() - entrants.keys():
        say(f"{name}: null, since PEERS leaves it out")
    found = compare(rig, entrants, {"saturated": figures.saturated, "paced": figures.paced})
    result: dict[str, Any] = {"spread": {}}
    for key, kind in (("plain", "saturated"), ("paced_500", "paced")):
        report(rig, key, found[kind], "andon")
        series = {
            "andon_us": found[kind].get("andon"),
            "aiocoap_us": found[kind].get("aiocoap"),
            "node_coap_us": found[kind].get("node-coap"),
            "mosquitto_paho_qos1_us": found[kind].get("mosquitto"),
        }
        result[key] = {name: middle(each) for name, each in series.items()}
        result[key]["andon_with_uplink_us"] = own.with_uplink.get(kind)
        result["spread"][key] = {name: spread(each) for name, each in series.items()}
    return result


def oscore(rig: Rig, wanted: set[str]) -> dict[str, Any]:
    """The figures of `oscore`, with their spread over the rounds."""
    entrants: dict[str, Entrant] = {"andon": figures.andon_oscore}
    if "aiocoap" in wanted:
        entrants["aiocoap"] = figures.aiocoap_oscore
    else:
        say("aiocoap with OSCORE: null, since PEERS leaves it out")
    found = compare(rig, entrants, {"saturated": figures.saturated})["saturated"]
    report(rig, "oscore", found, "andon")
    series = {"andon_us": found.get("andon"), "aiocoap_us": found.get("aiocoap")}
    return {
        "oscore": {name: middle(each) for name, each in series.items()},
        "spread": {"oscore": {name: spread(each) for name, each in series.items()}},
    }


def memory(rig: Rig, messages: int | None) -> dict[str, Any]:
    """`rss_growth_kb_per_million`; with MESSAGES= all of them are sent, otherwise as many as fit into half a minute."""
    limit_s = MEMORY_S if messages is None else ALL_MESSAGES_LIMIT_S
    found = attempt(rig, "memory", lambda: memory_growth(rig, messages or MEMORY_MESSAGES, limit_s)) or {}
    return {"rss_growth_kb_per_million": found.get("growth"), "rss_growth_messages": found.get("messages")}


def nodes(rig: Rig) -> dict[str, Any]:
    """`nodes_10k`."""
    found = attempt(rig, "10,000 nodes", lambda: many_nodes(rig)) or {}
    return {"nodes_10k": {"p99_ms": found.get("p99_ms"), "cpu_share": found.get("cpu_share")}}


def queryable(rig: Rig) -> dict[str, Any]:
    """`event_to_queryable_ms`."""
    found = attempt(rig, "event to queryable", lambda: event_to_queryable(rig)) or {}
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
        "--seconds",
        type=float,
        default=SATURATED_S,
        help="saturated load for each server, all rounds together (default %(default)g)",
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
    fleet.room_for_sockets(options.nodes * (len(peers.PEERS) + 1))
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
        spreads: dict[str, Any] = {}
        for name, part in parts.items():
            if name in options.only:
                part_result = _rounded(part())
                spreads |= part_result.pop("spread", {})
                result |= part_result
        say(f"the run took {time.monotonic() - began:.0f} s")
        worst = max(rig.disturbances, default=0.0)
        if worst > NOISY:
            say(
                f"the machine was not quiet: others used up to {worst:.0%} of the servers' core, so take the figures as upper bounds"
            )
        result["spread"] = spreads
        result["others_on_core"] = round(worst, 3)
        result["memory_lookup_ns"] = _rounded(spread(rig.memory_ns))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
