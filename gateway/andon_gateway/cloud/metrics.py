"""What the reports to the cloud tell Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.metrics_core import Metric

    from andon_gateway.cloud.delivery import ReportDelivery


class ReportsCollector(Collector):
    """Reports on which the cloud fails, by kind."""

    def __init__(self, deliveries: Sequence[ReportDelivery[Any]]) -> None:
        self._deliveries = deliveries

    def collect(self) -> Iterable[Metric]:
        """Give out every metric."""
        back = GaugeMetricFamily(
            "andon_gateway_reports_put_back", "Orders whose reports the cloud fails on, while it takes others", labels=["kind"]
        )  # fmt: skip
        failures = CounterMetricFamily(
            "andon_gateway_report_failures", "Reports answered 5xx, not 503", labels=["kind"]
        )
        for delivery in self._deliveries:
            back.add_metric([delivery.kind], delivery.turns.put_back)
            failures.add_metric([delivery.kind], delivery.failures)
        yield back
        yield failures
