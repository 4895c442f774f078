"""The demo's result: as a table for people, as one JSON object for programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from andon_workbench.latency import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_workbench.reconcile import Reconciliation
    from andon_workbench.traffic import SentCommand
    from andon_workbench.world.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Summary:
    """What a timed demo found."""

    nodes: int
    seconds: float
    result: Reconciliation
    latencies_ms: Sequence[float]
    commands: Sequence[SentCommand]
    console: str
    store: str
    refused_reads: int = 0

    @property
    def confirmed(self) -> int:
        """Commands that telemetry has confirmed."""
        return sum(command.confirmed for command in self.commands)

    @property
    def good(self) -> bool:
        """Whether nothing is missing or double and every command was confirmed."""
        return self.result.equal and self.confirmed == len(self.commands)

    def document(self) -> dict[str, Any]:
        """The JSON object with the keys that issue 3 names; times in milliseconds, null where nothing was measured."""
        switched = self._command_latencies_ms()
        return {
            "nodes": self.nodes,
            "seconds": round(self.seconds, 1),
            "taken": self.result.taken,
            "stored": self.result.stored,
            "missing": self.result.missing,
            "duplicates": self.result.duplicates,
            "cycles_true": self.result.cycles_true,
            "cycles_stored": self.result.cycles_stored,
            "latency_ms": {
                "p50": _rounded(percentile(self.latencies_ms, 0.50)),
                "p99": _rounded(percentile(self.latencies_ms, 0.99)),
            },
            "commands": {
                "issued": len(self.commands),
                "confirmed": self.confirmed,
                "p50_ms": _rounded(percentile(switched, 0.50)),
                "p99_ms": _rounded(percentile(switched, 0.99)),
            },
            "console": self.console,
            "store": self.store,
        }

    def _command_latencies_ms(self) -> list[float]:
        return [latency for command in self.commands if (latency := command.latency_ms) is not None]

    def table(self) -> Table:
        """The same for people, with each difference on its own row."""
        facts = self.document()
        latency, commands = facts["latency_ms"], facts["commands"]
        table = Table(title="Andon demo", title_justify="left", show_header=False, min_width=60)
        table.add_row("nodes, seconds, store", f"{facts['nodes']}, {facts['seconds']:g} s, {facts['store']}")
        table.add_row("readings taken / stored", f"{facts['taken']} / {facts['stored']}")
        table.add_row("bad reads refused by the firmware", str(self.refused_reads))
        table.add_row("cycles happened / stored", f"{facts['cycles_true']} / {facts['cycles_stored']}")
        table.add_row("missing, double", f"{facts['missing']}, {facts['duplicates']}")
        table.add_row("sensor to query, p50 / p99", f"{_ms(latency['p50'])} / {_ms(latency['p99'])}")
        table.add_row("commands issued / confirmed", f"{commands['issued']} / {commands['confirmed']}")
        table.add_row("API to contact, p50 / p99", f"{_ms(commands['p50_ms'])} / {_ms(commands['p99_ms'])}")
        for difference in self.result.differences:
            table.add_row(
                f"[red]{difference.node} {difference.quantity}/{difference.channel}",
                f"[red]{difference.missing} missing, {difference.duplicates} double",
            )
        for command in self.commands:
            if not command.confirmed:
                table.add_row(
                    f"[red]command {command.id}", f"[red]{command.machine}: {command.status} {command.detail}"
                )
        return table


def refused_reads(ledger: Ledger) -> int:
    """Reads with a flipped bit or the power-on value, which the firmware must not have reported."""
    return sum(node.refused.total() for node in ledger.nodes.values())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"
