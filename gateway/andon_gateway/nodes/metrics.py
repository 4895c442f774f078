"""What the gateway's own clock tells Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from andon_gateway.nodes.own_clock import OwnClock


class ClockCollector(Collector):
    """Whether it is believed, and by whom."""

    def __init__(self, clock: OwnClock) -> None:
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Give out every metric."""
        clock = self._clock
        yield _gauge("clock_right", "1 while nothing says that the gateway's own clock is far behind", int(clock.right))
        yield _gauge("clock_synchronised", "1 while a time server keeps the clock", int(clock.synchronised))
        yield _gauge("clock_claims", "Nodes that say that it is more than a day later", clock.claims)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"andon_gateway_{name}", text, value=value)
