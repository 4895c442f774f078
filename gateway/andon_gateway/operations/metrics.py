"""What the gateway tells Prometheus. Values are read when scraped, so the hot path keeps plain integers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from andon_gateway.spool.database import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from andon_gateway.commands.relay import CommandRunner
    from andon_gateway.nodes.gate import NodeGate
    from andon_gateway.security.oscore_keys import KeyRing
    from andon_gateway.spool.database import GroupCommit
    from andon_gateway.spool.intake import IntakeCounts
    from andon_gateway.uplink.uplink import UplinkCounts


@dataclass(frozen=True, slots=True)
class WaitingState:
    """What waits on disk: packs in the spool, age of the oldest in seconds, dead letters, dead letters to be sent again."""

    packs: int
    age_s: float
    dead_letters: int
    resend: int


def waiting_state(path: Path) -> WaitingState:
    """Read it beside the writer."""
    reader = open_reader(path)
    try:
        # The oldest row is the first: min(arrival_ms) would read the whole spool.
        (packs,) = reader.execute("SELECT count(*) FROM spool").fetchone()
        oldest = reader.execute("SELECT arrival_ms FROM spool ORDER BY id LIMIT 1").fetchone()
        (dead,) = reader.execute("SELECT count(*) FROM dead_letter").fetchone()
        (resend,) = reader.execute("SELECT count(*) FROM resend").fetchone()
    finally:
        reader.close()
    age_s = 0.0 if oldest is None else max(0.0, time.time() - oldest[0] / 1000)
    return WaitingState(packs, age_s, dead, resend)


class GatewayCollector(Collector):
    """All metrics of one gateway."""

    def __init__(
        self,
        database: GroupCommit,
        intake: IntakeCounts,
        uplink: UplinkCounts,
        runner: CommandRunner,
        keys: KeyRing,
        spool: Mapping[str, int],
        gate: NodeGate,
    ) -> None:
        self._database = database
        self._intake = intake
        self._uplink = uplink
        self._runner = runner
        self._keys = keys
        self._spool = spool
        self._gate = gate

    def collect(self) -> Iterable[Metric]:
        """Give out every metric."""
        intake, uplink = self._intake, self._uplink
        waiting = waiting_state(self._database.path)
        spool = dict(self._spool)
        yield _counter("packs", "Packs taken and durable", intake.packs)
        yield _counter("readings", "Readings in those packs", intake.readings)
        yield _counter("duplicate_packs", "Packs answered as known", intake.duplicates)
        yield _counter("unavailable_packs", "Packs answered 5.03", intake.unavailable)
        yield _labelled("rejected_records", "Records dropped alone", "reason", intake.rejected)
        yield _labelled("refused_packs", "Packs refused whole", "reason", intake.refused)
        yield _labelled(
            "postponed_packs", "Packs answered 5.03 or 4.29 before they were looked at", "reason", intake.postponed
        )
        yield _gauge("spool_packs", "Packs waiting for the cloud", waiting.packs)
        yield _gauge("spool_bytes", "Their size, as the quota counts it", spool.get("spool_bytes", 0))
        yield _gauge("spool_oldest_age_seconds", "Age of the oldest waiting pack", waiting.age_s)
        yield _counter("spool_dropped_packs", "Packs dropped at the quota, ever", spool.get("dropped_packs", 0))
        yield _counter("spool_dropped_readings", "Readings in those packs", spool.get("dropped_readings", 0))
        yield _gauge("quarantine_packs", "Packs of unknown nodes", spool.get("quarantine_packs", 0))
        yield _gauge("quarantine_bytes", "Their size", spool.get("quarantine_bytes", 0))
        yield _counter(
            "quarantine_dropped_packs", "Packs of unknown nodes dropped, ever", spool.get("dropped_unknown_packs", 0)
        )
        yield _counter("commits", "Group commits", self._database.commits)
        yield from self._database.durations.collect()
        yield _gauge("storage_healthy", "1 while the disk takes data", int(self._database.healthy))
        yield _counter("points_written", "Points that the cloud has stored", uplink.points)
        yield _counter("uplink_failures", "Writes that have to be repeated", uplink.failures)
        yield _gauge("uplink_lag_seconds", "Arrival to stored, oldest pack of the last batch", uplink.lag_ms / 1000)
        yield _counter("dead_letters", "Lines that the cloud refused for good", uplink.dead_letters)
        yield _gauge("dead_letters_kept", "Dead letters on disk", waiting.dead_letters)
        yield _gauge("dead_letters_resend", "Dead letters waiting to be sent again", waiting.resend)
        yield _counter(
            "dead_letters_dropped", "Dead letters beyond the number kept", spool.get("dropped_dead_letters", 0)
        )
        yield _gauge("nodes_known", "Nodes ever heard", len(self._gate.records))
        yield _gauge("nodes_with_keys", "Nodes that speak OSCORE", len(self._keys))
        yield _labelled("oscore_refused", "Protected messages refused", "reason", self._keys.refused)
        yield _counter("oscore_challenges", "Echo challenges sent", self._keys.challenges)
        yield _labelled("commands", "Relay commands", "result", self._runner.results)
        yield from self._runner.latency.collect()
        yield from self._nodes_of()

    def _nodes_of(self) -> Iterable[Metric]:
        """Counts per node; beyond the limit they are added up as `other`, so a scrape stays small."""
        records = dict(self._gate.records)
        now_ms = time.time() * 1000
        silent = sum(now_ms - record.last_ms > self._gate.limits.silent_ms for record in records.values())
        yield _gauge("nodes_silent", "Nodes not heard for nodes.silent_s", silent)
        yield _gauge("nodes_unknown", "Nodes heard that the cloud does not know", len(self._gate.unknown()))
        yield _gauge(
            "nodes_clock_off", "Nodes whose clock is off", sum(bool(r.clock_offset_ms) for r in records.values())
        )
        named = sorted(records)[: self._gate.limits.metrics_most]
        for field, name, text in _NODE_COUNTS:
            values = {node: int(getattr(records[node], field)) for node in named}
            if len(named) < len(records):
                total = sum(int(getattr(record, field)) for record in records.values())
                values["other"] = total - sum(values.values())
            yield _labelled(name, text, "node", values)
        seen = GaugeMetricFamily("andon_gateway_node_last_seen_seconds", "Last heard, Unix time", labels=["node"])
        for node in named:
            seen.add_metric([node], records[node].last_ms / 1000)
        yield seen


_NODE_COUNTS = (
    ("packs", "node_packs", "Packs taken"),
    ("duplicates", "node_duplicate_packs", "Packs answered as known"),
    ("refused_packs", "node_refused_packs", "Packs that could not be decoded"),
    ("rejected_records", "node_rejected_records", "Records dropped alone"),
    ("rate_limited", "node_rate_limited_packs", "Packs answered 4.29"),
    ("clock_off_packs", "node_clock_off_packs", "Packs with a clock that is off"),
)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"andon_gateway_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"andon_gateway_{name}", text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"andon_gateway_{name}", text, labels=[label])
    for key, value in dict(values).items():
        family.add_metric([key], value)
    return family


def build_registry(*collectors: Collector) -> CollectorRegistry:
    """A registry of this gateway's own, so that several can live in one process."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry
