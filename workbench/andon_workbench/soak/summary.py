"""The soak's result: as a table for people, as one JSON object for programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from andon_workbench.soak.account import Account
    from andon_workbench.soak.heap import Slope
    from andon_workbench.soak.outputs import Excess


@dataclass(frozen=True, slots=True)
class SoakSummary:
    """What a soak found. `output_on_s`: how long outputs were on in all; `crashes`: board processes that ended by themselves.

    `outputs_unseen`: changes of outputs that came so fast, or the world so late, that nobody judged them.
    """

    nodes: int
    hours: float
    power_cuts: int
    outages: int
    account: Account
    dropped_declared: int
    excess: Excess
    outputs_unseen: int
    output_on_s: float
    heap_slope: Slope | None
    commands: int
    confirmed: int
    crashes: int
    datagrams_lost: int
    speed: int
    wall_s: float

    @property
    def lost(self) -> int:
        """Readings that are neither stored nor declared nor in the instant of a cut."""
        return max(0, self.account.total("missing") - self.dropped_declared)

    @property
    def good(self) -> bool:
        """Whether everything is accounted for, no board crashed and no output was on without a lease."""
        cycles = self.account.cycles.values()
        return (
            not self.lost
            and not self.account.total("double")
            and not any(item.lost or item.double for item in cycles)
            and not self.excess.unsafe_s
            and not self.outputs_unseen
            and not self.crashes
        )

    def document(self) -> dict[str, Any]:
        """The JSON object: first the keys that issue 4 names, then what helps to believe them."""
        account, cycles = self.account, self.account.cycles.values()
        in_cuts = account.total("in_cuts")
        return {
            "nodes": self.nodes,
            "hours": self.hours,
            "power_cuts": self.power_cuts,
            "outages": self.outages,
            "taken": account.total("taken") - in_cuts,
            "dropped_declared": self.dropped_declared,
            "stored": account.total("stored"),
            "lost": self.lost,
            "double": account.total("double"),
            "unsafe_output_s": round(self.excess.unsafe_s, 3),
            "heap_slope_bytes_per_hour": None if self.heap_slope is None else round(self.heap_slope.bytes_per_hour, 1),
            "heap_slope_standard_error": None if self.heap_slope is None else round(self.heap_slope.standard_error, 1),
            "in_cuts": in_cuts,
            "cycles_happened": sum(item.happened for item in cycles),
            "cycles_stored": sum(item.stored for item in cycles),
            "cycles_at_risk": sum(item.at_risk for item in cycles),
            "cycles_lost": sum(item.lost for item in cycles),
            "cycles_double": sum(item.double for item in cycles),
            "commands": self.commands,
            "commands_confirmed": self.confirmed,
            "output_on_s": round(self.output_on_s),
            "output_late_by_host_s": round(self.excess.host_s, 3),
            "outputs_unseen": self.outputs_unseen,
            "crashes": self.crashes,
            "datagrams_lost": self.datagrams_lost,
            "speed": self.speed,
            "wall_s": round(self.wall_s, 1),
        }

    def table(self) -> Table:
        """The same for people, with each channel that differs on its own row."""
        table = Table(title="Andon soak", title_justify="left", show_header=False, min_width=60)
        for key, value in self.document().items():
            table.add_row(key.replace("_", " "), str(value))
        for (node, channel), found in self.account.readings.items():
            if found.missing or found.double:
                table.add_row(
                    f"[red]{node} temperature/{channel}", f"[red]{found.missing} missing, {found.double} double"
                )
        for (node, channel), count in self.account.cycles.items():
            if count.lost or count.double:
                table.add_row(f"[red]{node} cycles/{channel}", f"[red]{count.lost} missing, {count.double} double")
        return table
