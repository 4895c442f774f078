"""What the workers tell Prometheus; what they have counted is in the gateway's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from andon_gateway.workers.team import Team


class WorkersCollector(Collector):
    """Workers that work, and how often one was started again."""

    def __init__(self, team: Team) -> None:
        self._team = team

    def collect(self) -> Iterable[Metric]:
        """Give out both."""
        yield GaugeMetricFamily(
            "andon_gateway_workers_ready", "Worker processes that read the port", value=self._team.ready
        )
        yield CounterMetricFamily(
            "andon_gateway_worker_restarts", "Worker processes started again", value=self._team.restarts
        )
