"""What the rules tell Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

    from andon_gateway.rules.engine import EdgeRules


class RulesCollector(Collector):
    """Version, number, events and faults of the rules."""

    def __init__(self, rules: EdgeRules) -> None:
        self._rules = rules

    def collect(self) -> Iterable[Metric]:
        """Give out every metric."""
        rules, counts = self._rules, self._rules.counts
        yield _gauge("version", "Version of the rule document in force; 0: none", rules.version)
        yield _gauge("count", "Rules in force", len(rules))
        yield _gauge("alarms_active", "Alarms active now", counts.active)
        yield _counter("refused_documents", "Rule documents that could not be used", counts.refused_documents)
        yield _counter("errors", "Evaluations that failed", counts.errors)
        yield _counter("late_readings", "Readings not newer than one already evaluated", counts.late)
        yield _labelled("alarm_events", "Alarm events", "event", {"raised": 0, "cleared": 0, **counts.events})
        yield _labelled("actions", "Relay actions", "outcome", rules.action_counts)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"andon_gateway_rules_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"andon_gateway_rules_{name}", text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"andon_gateway_rules_{name}", text, labels=[label])
    for key, value in dict(values).items():
        family.add_metric([key], value)
    return family
