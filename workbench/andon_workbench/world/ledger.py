"""The ledger: what physically happened, to be compared with what the store answers in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_workbench.registers import ScratchpadRead, ThermocoupleRead
    from andon_workbench.world.relay import ContactChange


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading taken: raw value in 1/16 degC, at `time_us` on the host's CLOCK_MONOTONIC."""

    time_us: int
    raw: int


@dataclass(frozen=True, slots=True)
class PowerCut:
    """A node lost its power at `time_us`, when it had taken so many `readings` per channel.

    `cycles_at_risk` is how many cycles it may have counted without having had the time to write them to its flash.
    """

    time_us: int
    readings: Mapping[int, int]
    cycles_at_risk: int


@dataclass(slots=True)
class NodeLedger:
    """What happened at one node, per channel. `refused` counts the reads that the firmware must not believe.

    `coil_changes_unseen`: changes of a relay's coil between two looks of the world, which `contacts` does not have.
    """

    readings: dict[int, list[Reading]] = field(default_factory=dict)
    cycles: dict[int, int] = field(default_factory=dict)
    contacts: list[ContactChange] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    cuts: list[PowerCut] = field(default_factory=list)
    coil_changes_unseen: int = 0

    def note_read(self, channel: int, read: ScratchpadRead) -> None:
        """Enter a scratchpad read; it is a reading taken only if it was clean and converted."""
        if not read.clean:
            self.refused["crc"] += 1
        elif not read.converted:
            self.refused["power-on"] += 1
        else:
            self.readings.setdefault(channel, []).append(Reading(read.time_us, read.raw))

    def note_thermocouple(self, channel: int, read: ThermocoupleRead) -> None:
        """Enter a word that a thermocouple chip delivered; one with a fault bit is no reading."""
        if read.faulty:
            self.refused["thermocouple"] += 1
        else:
            # Quarters of a degree as sixteenths.
            self.readings.setdefault(channel, []).append(Reading(read.time_us, read.raw * 4))


@dataclass(slots=True)
class Ledger:
    """The ledgers of all nodes, by node id."""

    nodes: dict[str, NodeLedger] = field(default_factory=dict)

    def node(self, name: str) -> NodeLedger:
        """The ledger of one node, made at first use."""
        return self.nodes.setdefault(name, NodeLedger())

    @property
    def taken(self) -> int:
        """Readings taken by all nodes so far."""
        return sum(len(readings) for node in self.nodes.values() for readings in node.readings.values())

    @property
    def cycles(self) -> int:
        """Machine cycles that all nodes could see so far."""
        return sum(count for node in self.nodes.values() for count in node.cycles.values())
