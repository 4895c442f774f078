"""Compares the ledger with what the store answers: nothing may be missing, nothing double. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_workbench.world.ledger import Ledger

Channel = tuple[str, int]
"""Node id and channel number."""


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A temperature as the store has it: milliseconds since the epoch, raw value in 1/16 degC."""

    time_ms: int
    raw: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store answered: every temperature, and the newest cycle total, per channel."""

    temperatures: Mapping[Channel, list[StoredPoint]]
    cycle_totals: Mapping[Channel, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """How one channel's quantity differs; `missing` and `duplicates` count readings or cycles."""

    node: str
    channel: int
    quantity: str
    missing: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result. `differences` names each channel that differs."""

    taken: int
    stored: int
    cycles_true: int
    cycles_stored: int
    differences: tuple[Difference, ...] = ()

    @property
    def missing(self) -> int:
        """Readings and cycles that happened but are not in the store."""
        return sum(difference.missing for difference in self.differences)

    @property
    def duplicates(self) -> int:
        """Readings and cycles in the store that did not happen, or happened once and are there twice."""
        return sum(difference.duplicates for difference in self.differences)

    @property
    def equal(self) -> bool:
        """Whether the store holds exactly what happened."""
        return not self.missing and not self.duplicates


def raw_from_celsius(celsius: float) -> int:
    """A stored temperature in steps of 1/16 degC, which floats of 32 bits and decimal text carry without loss."""
    return round(celsius * 16)


def reconcile(ledger: Ledger, stored: Stored) -> Reconciliation:
    """Compare per channel: temperatures as multisets of raw values, cycles as totals. Both directions count."""
    taken = {
        (name, channel): [reading.raw for reading in readings]
        for name, node in ledger.nodes.items()
        for channel, readings in node.readings.items()
    }
    cycles = {(name, channel): count for name, node in ledger.nodes.items() for channel, count in node.cycles.items()}
    differences: list[Difference] = []
    for node, channel in sorted(taken.keys() | stored.temperatures.keys()):
        true = Counter(taken.get((node, channel), []))
        seen = Counter(point.raw for point in stored.temperatures.get((node, channel), []))
        differences.append(Difference(node, channel, "temperature", (true - seen).total(), (seen - true).total()))
    for node, channel in sorted(cycles.keys() | stored.cycle_totals.keys()):
        gap = cycles.get((node, channel), 0) - stored.cycle_totals.get((node, channel), 0)
        differences.append(Difference(node, channel, "cycles", max(gap, 0), max(-gap, 0)))
    return Reconciliation(
        taken=ledger.taken,
        stored=sum(map(len, stored.temperatures.values())),
        cycles_true=ledger.cycles,
        cycles_stored=sum(stored.cycle_totals.values()),
        differences=tuple(item for item in differences if item.missing or item.duplicates),
    )
