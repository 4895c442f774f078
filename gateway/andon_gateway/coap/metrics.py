"""What the CoAP socket tells Prometheus."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from andon_gateway.coap.fast_path import FastCounts


class DatagramCollector(Collector):
    """Datagrams by the way that they went; what became of the packs in them is counted by the intake, whichever way they came."""

    def __init__(self, counts: FastCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Give out the counter."""
        family = CounterMetricFamily("andon_gateway_datagrams", "CoAP datagrams received", labels=["way"])
        for field in fields(self._counts):
            family.add_metric([field.name], getattr(self._counts, field.name))
        yield family
