"""Accounts for every reading: in the store, declared as dropped, or in the instant of a power cut. Pure.

A node has taken a reading when the sensor delivered it, and writes it to its flash at once; a power cut may fall between
the two. So of all readings only one can be excused per cut and channel: the last one before it. Everything else must be in
the store, once, in order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from andon_workbench.reconcile import Channel, Stored
    from andon_workbench.world.ledger import Ledger


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """One channel: readings taken and stored, those in the cut, and what cannot be explained."""

    taken: int
    stored: int
    in_cuts: int = 0
    missing: int = 0
    double: int = 0


@dataclass(frozen=True, slots=True)
class CycleAccount:
    """Cycles of one node: `at_risk` is how many its power cuts can have cost at most."""

    happened: int
    stored: int
    at_risk: int

    @property
    def lost(self) -> int:
        """Cycles missing that no cut explains."""
        return max(0, self.happened - self.stored - self.at_risk)

    @property
    def double(self) -> int:
        """Cycles in the store that did not happen."""
        return max(0, self.stored - self.happened)


@dataclass(frozen=True, slots=True)
class Account:
    """All channels."""

    readings: Mapping[Channel, ChannelAccount]
    cycles: Mapping[Channel, CycleAccount]

    def total(self, what: str) -> int:
        """Sum of one column over all channels of readings."""
        return sum(getattr(channel, what) for channel in self.readings.values())

    @property
    def settled(self) -> bool:
        """Whether nothing is missing or double."""
        return not any(item.missing or item.double for item in self.readings.values()) and not any(
            item.lost or item.double for item in self.cycles.values()
        )


def account_for(ledger: Ledger, stored: Stored) -> Account:
    """Compare ledger and store, channel by channel, in both directions."""
    readings: dict[Channel, ChannelAccount] = {}
    cycles: dict[Channel, CycleAccount] = {}
    for name, node in ledger.nodes.items():
        for channel, taken in node.readings.items():
            points = sorted(stored.temperatures.get((name, channel), []), key=lambda point: point.time_ms)
            last = {cut.readings[channel] - 1 for cut in node.cuts}
            readings[name, channel] = compare([item.raw for item in taken], [item.raw for item in points], last)
        at_risk = sum(cut.cycles_at_risk for cut in node.cuts)
        for channel, happened in node.cycles.items():
            cycles[name, channel] = CycleAccount(happened, stored.cycle_totals.get((name, channel), 0), at_risk)
    for key in stored.temperatures.keys() - readings.keys():
        readings[key] = compare([], [item.raw for item in stored.temperatures[key]], set())
    return Account(readings, cycles)


def compare(taken: Sequence[int], stored: Sequence[int], last_before_cut: Collection[int]) -> ChannelAccount:
    """Explain the stored values as the taken ones, in order, without some of those at the indices `last_before_cut`.

    Where that is impossible, count what is missing and double as multisets; nothing is excused then.
    """
    # How many were left out so far, in every way that still explains what is stored.
    skipped = {0}
    for index, raw in enumerate(taken):
        matched = {skip for skip in skipped if index - skip < len(stored) and stored[index - skip] == raw}
        skipped = matched | {skip + 1 for skip in skipped} if index in last_before_cut else matched
        if not skipped:
            break
    if len(taken) - len(stored) in skipped:
        return ChannelAccount(len(taken), len(stored), in_cuts=len(taken) - len(stored))
    true, seen = Counter(taken), Counter(stored)
    # The same values in another order: as many readings were not stored at their place.
    missing, double = (true - seen).total(), (seen - true).total()
    if not missing and not double:
        missing = sum(one != other for one, other in zip(taken, stored, strict=True))
    return ChannelAccount(len(taken), len(stored), missing=missing, double=double)
