"""What Prometheus learns about relay commands."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class CommandMetrics:
    """Counts commands by the status they reached."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._steps = Counter(
            "andon_cloud_commands", "Relay commands that reached a status", ["status"], registry=registry
        )

    def stepped(self, status: str) -> None:
        """A command reached a status."""
        self._steps.labels(status=str(status)).inc()
