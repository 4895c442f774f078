"""What is known of one node's packs: which were taken, and what they made of its totals. Pure: a mirror of the node's rows (taken.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from andon_gateway.spool.cycles import NO_BOOT, CycleTotal
from andon_gateway.spool.identity import SeenRanges

if TYPE_CHECKING:
    from andon_gateway.senml.columns import Form

Rows = list[tuple[object, ...]]
NEVER: Final = -1


@dataclass(slots=True, eq=False)
class Ledger:
    """One node's boots and totals, as far as they were needed.

    With thousands of nodes, nothing of a node is in the processor's caches when its next pack comes, and each object that the pack
    needs is a wait for memory. So what nearly every pack needs is here, without a dictionary: the boot and the form of the pack before.

    Attributes:
        node: Node id.
        boot: Of the pack before; `NO_BOOT`: of none that counts.
        seen: What was taken of that boot.
        form: Of the pack before, if it was one of numbers.
        counters: The totals of what counts in that form, in its order.
        text: How such a pack is written down (`as_text`).
        round: The last round of writing (taken.py) in which something here has changed.
        boots: What was taken, by boot.
        totals: By name of the channel.
        floor: Boots up to this one are too old to be told apart; None: not read yet.
    """

    node: str
    boot: int = NO_BOOT
    seen: SeenRanges = field(default_factory=SeenRanges)
    form: Form | None = None
    counters: tuple[CycleTotal, ...] = ()
    text: str = ""
    round: int = NEVER
    boots: dict[int, SeenRanges] = field(default_factory=dict)
    totals: dict[str, CycleTotal] = field(default_factory=dict)
    floor: int | None = None

    @property
    def size(self) -> int:
        """How many boots and totals are in memory."""
        return len(self.boots) + len(self.totals)

    def forget_boots(self, floor: int) -> None:
        """Boots up to this one are from now on too old to be told apart."""
        self.floor = floor
        for boot in [boot for boot in self.boots if boot <= floor]:
            del self.boots[boot]
        if self.boot <= floor:
            self.boot = NO_BOOT

    def clear(self) -> None:
        """Forget everything, so that nothing is written."""
        self.boots.clear()
        self.totals.clear()
        self.boot, self.form, self.counters, self.floor = NO_BOOT, None, (), None

    def changed_rows(self) -> tuple[Rows, Rows]:
        """Rows of the tables `identity` and `cycle_total` that the database does not have as they are now; from here on it has them."""
        identities: Rows = []
        for boot, seen in self.boots.items():
            if seen.changed:
                seen.changed = False
                identities.append((self.node, boot, seen.to_text()))
        totals: Rows = []
        for name, total in self.totals.items():
            if total.changed:
                total.changed = False
                open_boots = json.dumps(total.highest)
                row = (self.node, name, open_boots, total.settled, total.settled_boot, total.newest_ms, total.total)
                totals.append(row)
        return identities, totals
