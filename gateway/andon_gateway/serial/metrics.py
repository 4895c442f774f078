"""What the serial lines tell Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.metrics_core import Metric

    from andon_gateway.serial.lines import SerialLine


class SerialCollector(Collector):
    """State and counts of each port."""

    def __init__(self, lines: Sequence[SerialLine]) -> None:
        self._lines = lines

    def collect(self) -> Iterable[Metric]:
        """Give out the lines' metrics."""
        connected = GaugeMetricFamily("andon_gateway_serial_open", "1 while the port is there", labels=["port"])
        messages = CounterMetricFamily(
            "andon_gateway_serial_messages",
            "CoAP messages up and down a serial line, broken frames, messages lost for want of a line",
            labels=["port", "kind"],
        )
        for line in self._lines:
            port, counts = line.path.as_posix(), line.counts
            connected.add_metric([port], float(line.connected))
            for kind in ("up", "down", "broken", "lost"):
                messages.add_metric([port, kind], getattr(counts, kind))
        yield connected
        yield messages
