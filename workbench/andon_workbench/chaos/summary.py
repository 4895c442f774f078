"""The result of a chaos run: as a table for people, as one JSON object for programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_workbench.chaos.account import Count
    from andon_workbench.reconcile import Reconciliation


@dataclass(frozen=True, slots=True)
class ChaosSummary:
    """What a run found.

    Attributes:
        kills: Gateways killed with -9, by moment.
        count: The account of the lean nodes.
        boards: The account of the boards: physical readings against the store.
        falls: How often a total of cycles fell, in the series or before a reader's eyes.
        dropped_declared: Packs that boards say they dropped, because their journals were full; 0 unless the run is very long.
        waiting: Packs without a 2.04 in the end.
        refused: What the gateway said about packs that it refused for good.
        cuts: Cuts of the database, by kind; `cut_share` of the time between the first and the last kill.
        seconds: From the first to the last kill, and until the store had everything.
    """

    kills: Mapping[str, int]
    nodes: int
    oscore: bool
    store: str
    count: Count
    boards: Reconciliation
    falls: int
    dropped_declared: int
    waiting: int
    refused: list[str]
    transmissions: int
    boots: int
    cuts: Mapping[str, int]
    cut_share: float
    datagrams_lost: int
    datagrams_doubled: int
    seconds: float

    @property
    def lost(self) -> int:
        """Acknowledged readings and cycles that are not in the store; of boards all that are not and that were not declared."""
        return self.count.lost + max(0, self.boards.missing - self.dropped_declared)

    @property
    def double(self) -> int:
        """Readings and cycles in the store that were not taken, or that are there twice."""
        return self.count.double + self.boards.duplicates

    @property
    def good(self) -> bool:
        """Whether nothing was lost or counted twice, every pack was acknowledged in the end, and no total fell."""
        return not (self.lost or self.double or self.falls or self.waiting or self.refused)

    def document(self) -> dict[str, Any]:
        """The JSON object: first the keys that issue 5 names, then what helps to believe them."""
        return {
            "kills": sum(self.kills.values()),
            "nodes": self.nodes,
            "acknowledged": self.count.acknowledged + self.boards.taken,
            "stored": self.count.stored + self.boards.stored,
            "lost": self.lost,
            "double": self.double,
            "seconds": round(self.seconds, 1),
            "moments": dict(sorted(self.kills.items())),
            "cuts": dict(sorted(self.cuts.items())),
            "cut_share": round(self.cut_share, 3),
            "datagrams_lost": self.datagrams_lost,
            "datagrams_doubled": self.datagrams_doubled,
            "transmissions": self.transmissions,
            "boots": self.boots,
            "board_readings": self.boards.taken,
            "board_cycles": self.boards.cycles_true,
            "dropped_declared": self.dropped_declared,
            "total_falls": self.falls,
            "waiting": self.waiting,
            "refused": len(self.refused),
            "oscore": self.oscore,
            "store": self.store,
        }

    def table(self) -> Table:
        """The same for people, with what is wrong on its own rows."""
        table = Table(title="Andon chaos", title_justify="left", show_header=False, min_width=60)
        for key, value in self.document().items():
            text = ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else value
            table.add_row(key.replace("_", " "), str(text))
        for difference in self.boards.differences:
            table.add_row(
                f"[red]{difference.node} {difference.quantity}/{difference.channel}",
                f"[red]{difference.missing} missing, {difference.duplicates} double",
            )
        for line in self.refused[:5]:
            table.add_row("[red]refused", f"[red]{line}")
        return table
