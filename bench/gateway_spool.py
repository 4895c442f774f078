"""Cost of one pack in the gateway's decode and spool path, in process and without sockets.

Run: python bench/gateway_spool.py [--packs 20000] [--aggregate] [--json]. Each pack has 8 readings, is decoded, checked for its
sender's right and rate, deduplicated and committed to SQLite with synchronous=FULL (group commit), as in a running gateway.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cbor2

from andon_gateway.nodes.gate import GateLimits, NodeGate
from andon_gateway.nodes.table import Address, NodeTable
from andon_gateway.security.access import AccessPolicy
from andon_gateway.security.oscore_keys import KeyRing
from andon_gateway.spool.aggregator import Aggregator
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.spool.intake import Answer, Outcome, TelemetryIntake
from andon_gateway.spool.spool import Spool
from andon_gateway.spool.windows import AggregateRule, rules_by_name
from andon_gateway.uplink.assets import AssetsEvent, AssetTable

NODES = 50
AT_ONCE = 400
"""Packs under way: below the queue's limit, enough to fill groups."""
SOURCE = Address("127.0.0.1", 40000)
START_MS = 1_764_000_000_000


def build_pack(node: int, seq: int, time_ms: int) -> bytes:
    """Six temperatures and two counters, as a node writes them."""
    head: dict[int, Any] = {-2: f"press-{node}/", -3: cbor2.CBORTag(4, [-3, time_ms]), 0: "boot", 2: 1}
    records: list[dict[int, Any]] = [head, {0: "seq", 2: seq}]
    records += [{0: f"temperature/{channel}", 1: "Cel", 2: 40 + seq % 64 / 16, 6: 0} for channel in range(6)]
    records += [{0: f"cycles/{channel}", 1: "count", 2: seq, 6: 0} for channel in range(2)]
    return cbor2.dumps(records)


def run(packs: int, folder: Path, aggregator: Aggregator | None) -> dict[str, float]:
    """Push the packs through and measure."""
    payloads = [build_pack(number % NODES, number // NODES, START_MS + number * 20) for number in range(packs)]
    database = GroupCommit(folder / "bench.sqlite3", lambda call: call())
    reader = open_reader(database.path)
    spool = Spool(database, None, aggregator)
    nodes, assets = NodeTable(database, reader), AssetTable(database, reader)
    gate = NodeGate(GateLimits(packs_per_s=1e6, burst=1_000_000), nodes, assets, spool.forget_node)
    intake = TelemetryIntake(spool, nodes, AccessPolicy(KeyRing(database, reader), "*"), gate)
    reader.close()
    database.start()
    place = {"site": "s", "area": "a", "line": "l", "machine": "m"}
    mounted = {f"press-{number}": place for number in range(NODES)}
    assets.on_replace.append(spool.adopt)
    assets.replace(AssetsEvent.model_validate({"version": 1, "nodes": mounted})).result(10)
    slots = threading.Semaphore(AT_ONCE)
    answers: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        answers.append(outcome)
        slots.release()

    cpu, wall = time.process_time(), time.perf_counter()
    for number, payload in enumerate(payloads):
        slots.acquire()
        intake.receive(payload, 112, SOURCE, START_MS + number * 20, done)
    for _ in range(AT_ONCE):
        slots.acquire()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    commits = database.commits
    database.close()
    refused = sum(outcome.answer is not Answer.CHANGED for outcome in answers)
    return {
        "packs": packs, "refused": refused, "packs_per_s": round(packs / wall), "cpu_us_per_pack": round(cpu / packs * 1e6, 1),
        "packs_per_commit": round(packs / max(1, commits), 1),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--packs", type=int, default=20_000)
    parser.add_argument("--aggregate", action="store_true", help="all channels per minute, no raw readings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rule = AggregateRule(60_000, 2_000, raw=False)
    aggregator = Aggregator(rules_by_name([("*", rule)]), 86_400_000) if options.aggregate else None
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.packs, Path(folder), aggregator)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
        for name, value in result.items():
            print(f"{name:>20} {value:g}")


if __name__ == "__main__":
    main()
