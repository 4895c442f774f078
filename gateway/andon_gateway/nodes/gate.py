"""What each node may send and what it has sent: rate, number of ids, clock and counters, all of bounded size."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal

from andon_gateway.nodes.clock import ClockWatch
from andon_gateway.senml.pack import Reading
from andon_gateway.uplink.lineprotocol import CLOCK_OFFSET_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from andon_gateway.nodes.table import Address, NodeTable
    from andon_gateway.senml.pack import Pack
    from andon_gateway.uplink.assets import AssetTable

log = logging.getLogger(__name__)

UNKNOWN_SILENT_MS: Final = 3_600_000
"""An unknown node that was silent as long makes room for another."""
OFFSET_EVERY_MS: Final = 60_000
MOST_RATE_WAIT_S: Final = 60
SET_BACK_MS: Final = 1_000
"""Datagrams that overtake each other, through workers too, differ by less; beyond, the gateway's clock was set back."""
MOST_SENT: Final = 16
MAX_TEXT: Final = 32

_TIME_OF: Final = itemgetter(1)
Admission = Literal["admitted", "too-many-nodes", "too-many-unknown-nodes"]


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Bounds (see [nodes] in settings.py)."""

    most: int = 10_000
    most_unknown: int = 256
    packs_per_s: float = 100.0
    burst: int = 1_000
    clock_limit_ms: int = 5_000
    silent_ms: int = 120_000
    metrics_most: int = 500


@dataclass(slots=True)
class NodeRecord:
    """One node since the start of the process; times in ms since the epoch."""

    first_ms: int
    last_ms: int
    tokens: float
    packs: int = 0
    duplicates: int = 0
    rejected_records: int = 0
    refused_packs: int = 0
    rate_limited: int = 0
    clock_off_packs: int = 0
    clock_offset_ms: int = 0
    offset_reported_ms: int = 0
    address: Address | None = None
    sent: dict[str, float | bool | str] = field(default_factory=dict)
    """Of an unknown node: the newest value under each name, for the person who is to recognise it."""
    clock: ClockWatch = field(default_factory=ClockWatch)
    clock_doubted: bool = False
    """Its last packs came with old or wrong times."""


class NodeGate:
    """Used in the event loop.

    Args:
        limits: Bounds.
        nodes: The nodes ever heard.
        assets: The nodes that the cloud has mounted.
        forget: Removes all that is kept of an unknown node that makes room.
    """

    def __init__(self, limits: GateLimits, nodes: NodeTable, assets: AssetTable, forget: Callable[[str], None]) -> None:
        self.limits = limits
        self._nodes = nodes
        self._assets = assets
        self._forget = forget
        self._records: dict[str, NodeRecord] = {}
        for name, entry in nodes.items():
            self._records[name] = NodeRecord(entry.seen_ms, entry.seen_ms, limits.burst, address=entry.address)
        self._unknown: set[str] | None = None
        self._assets_version = -1
        nodes.admission = lambda node, now_ms: self.admit(node, now_ms) == "admitted"

    @property
    def records(self) -> Mapping[str, NodeRecord]:
        """By node; at most `most` + `most_unknown`."""
        return self._records

    def unknown(self) -> dict[str, NodeRecord]:
        """Nodes heard that the cloud has not mounted."""
        return {node: self._records[node] for node in sorted(self._unknown_ids())}

    def votes(self, node: str) -> bool:
        """Whether a node has a say about the gateway's clock: one that the cloud knows, or any as long as it knows none."""
        return not self._assets.received or node not in self._unknown_ids()

    def others_in_time(self, without: Container[str], most: int) -> int:
        """How many nodes with a say had a pack taken since the start, leaving out some; at most `most` are counted."""
        found = 0
        for node, record in self._records.items():
            if found >= most:
                break
            found += record.packs > 0 and node not in without and self.votes(node)
        return found

    def admit(self, node: str, now_ms: int) -> Admission:
        """Whether there is room for the node; makes its record."""
        if node in self._records:
            return "admitted"
        unknown = self._unknown_ids()
        if node not in self._assets.snapshot()[1]:
            if len(unknown) >= self.limits.most_unknown and not self._make_room(unknown, now_ms):
                return "too-many-unknown-nodes"
            unknown.add(node)
            if self._assets.received:
                log.warning("node %s is not known to the cloud: its packs wait in quarantine until it is adopted", node)
        elif len(self._records) - len(unknown) >= self.limits.most:
            return "too-many-nodes"
        self._records[node] = NodeRecord(now_ms, now_ms, self.limits.burst)
        return "admitted"

    def passes(self, pack: Pack, now_ms: int) -> bool:
        """Whether a pack may come now and there is nothing to note, as nearly always; it is then taken from the node's rate.

        False decides nothing: `admit`, `wait_s` and `check_clock` have to be asked, in this order.
        """
        record, columns = self._records.get(pack.node), pack.columns
        if record is None or columns is None or record.clock_doubted:
            return False
        limits = self.limits
        if not -limits.clock_limit_ms <= columns.newest_ms - now_ms <= limits.clock_limit_ms:
            return False
        return not limits.packs_per_s or self._take_token(record, now_ms)

    def wait_s(self, node: str, now_ms: int) -> int:
        """Take one pack from the node's rate; 0, or the seconds after which it may send again (RFC 8516)."""
        rate = self.limits.packs_per_s
        if not rate:
            return 0
        record = self._records[node]
        if self._take_token(record, now_ms):
            return 0
        record.rate_limited += 1
        return min(MOST_RATE_WAIT_S, max(1, round((1 - record.tokens) / rate)))

    def _take_token(self, record: NodeRecord, now_ms: int) -> bool:
        """Take one pack from a node's rate; where there is none, the same moment may ask again."""
        passed_ms = now_ms - record.last_ms
        if passed_ms > 0:
            record.tokens = min(self.limits.burst, record.tokens + passed_ms / 1000 * self.limits.packs_per_s)
            record.last_ms = now_ms
        elif passed_ms < -SET_BACK_MS:  # or the node would have no rate until the clock is where it was
            record.last_ms = now_ms
        if record.tokens < 1:
            return False
        record.tokens -= 1
        return True

    def check_clock(self, pack: Pack, now_ms: int) -> None:
        """Note the clock's offset; a wrong one is added to the pack as a reading of the node, at most once a minute."""
        columns = pack.columns
        if columns is not None:
            newest_ms = columns.newest_ms
        elif pack.readings:
            newest_ms = max(map(_TIME_OF, pack.readings))
        else:
            return
        record = self._records[pack.node]
        limit_ms = self.limits.clock_limit_ms
        if -limit_ms <= newest_ms - now_ms <= limit_ms and not record.clock_doubted:
            return  # as nearly always
        offset_ms = record.clock.offset_ms(newest_ms, now_ms, limit_ms)
        record.clock_doubted = offset_ms != 0
        if offset_ms is None:
            return
        changed = (offset_ms == 0) != (record.clock_offset_ms == 0)
        record.clock_offset_ms = offset_ms
        if offset_ms:
            record.clock_off_packs += 1
        if changed:
            if offset_ms:
                log.warning(
                    "the clock of node %s is off by %.1f s; its readings keep their times", pack.node, offset_ms / 1000
                )
            else:
                log.info("the clock of node %s is right again", pack.node)
        if changed or (offset_ms and now_ms - record.offset_reported_ms >= OFFSET_EVERY_MS):
            record.offset_reported_ms = now_ms
            pack.readings.append(Reading(CLOCK_OFFSET_NAME, now_ms, offset_ms))

    def took(self, packs: Sequence[Pack], addresses: Sequence[Address], news: Sequence[bool], now_ms: int) -> None:
        """Packs, of which some are new, are durable."""
        records, unknown = self._records, self._unknown_ids()
        for pack, address, new in zip(packs, addresses, news, strict=True):
            record = records.get(pack.node)
            if record is None:  # forgotten while its pack was written
                continue
            if not 0 <= record.last_ms - now_ms <= SET_BACK_MS:
                record.last_ms = now_ms
            record.address = address
            if pack.node in unknown:
                _remember(record.sent, pack)
            if new:
                record.packs += 1
                if pack.rejected:
                    record.rejected_records += pack.rejected.total()
            else:
                record.duplicates += 1

    def refused(self, address: Address, identity: str | None) -> None:
        """A pack could not be decoded; counted for the node that has authenticated itself or is known at the address."""
        record = self._records.get(identity or self._nodes.at(address) or "")
        if record is not None:
            record.refused_packs += 1

    def _unknown_ids(self) -> set[str]:
        version, assets = self._assets.snapshot()
        if self._unknown is None or version != self._assets_version:
            self._assets_version = version
            self._unknown = {node for node in self._records if node not in assets}
        return self._unknown

    def _make_room(self, unknown: set[str], now_ms: int) -> bool:
        node = min(unknown, key=lambda name: self._records[name].last_ms, default=None)
        if node is None or now_ms - self._records[node].last_ms < UNKNOWN_SILENT_MS:
            return False
        log.warning("unknown node %s was silent for long and makes room for another", node)
        unknown.discard(node)
        del self._records[node]
        self._nodes.forget(node)
        self._forget(node)
        return True


def _remember(sent: dict[str, float | bool | str], pack: Pack) -> None:
    for reading in pack.readings:
        if (reading.name in sent or len(sent) < MOST_SENT) and not reading.name.startswith("node/"):
            value = reading.value
            sent[reading.name] = value[:MAX_TEXT] if isinstance(value, str) else value
