"""When a relay reading proves a command, as pure logic.

Reading times, `sent` and `acknowledged` times all come through the gateway, which resolves node time: they share its clock.
A node reads its contact back when it switches and stamps the reading then, so that reading is *older* than the gateway's
acknowledgement by the answer's way back, or by a whole retransmission span when answers were lost. What it can never be is
older than the moment the gateway had the command. Hence a reading proves a command if it has the commanded state and

    time >= max(sent, acknowledged - MAX_TRANSMIT_SPAN) - CLOCK_TOLERANCE

The reading may reach the store before the acknowledgement is reported; `Readings` remembers, per relay and state, the
newest reading, which is all that the comparison needs, so both orders of arrival give the same result.

Only what the gateway that serves the machine wrote is a proof: another one's token opens the write endpoint too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from andon_cloud.telemetry.relay_readings import RelayReading

# RFC 7252 section 4.8.2: from the first transmission of a confirmable message to its last retransmission.
MAX_TRANSMIT_SPAN_MS = 45_000
# A node's clock comes from the gateway's /time: half a round trip of error plus a crystal's drift between syncs.
CLOCK_TOLERANCE_MS = 500


@dataclass(frozen=True, slots=True)
class Awaited:
    """An acknowledged command that waits for its reading."""

    command_id: str
    gateway: str
    node: str
    channel: int
    on: bool
    not_before_ms: int


def earliest_proof_ms(*, sent_ms: int | None, acknowledged_ms: int) -> int:
    """The oldest time at which a reading can prove a command with these report times."""
    oldest = acknowledged_ms - MAX_TRANSMIT_SPAN_MS
    if sent_ms is not None:
        # A `sent` stamped after the acknowledgement would be a broken report; it must not make proof impossible.
        oldest = max(oldest, min(sent_ms, acknowledged_ms))
    return oldest - CLOCK_TOLERANCE_MS


_Key = tuple[str, str, int, bool]
"""Gateway, node, channel, state."""


@dataclass(slots=True)
class Readings:
    """The newest reading per relay and state, and the commands waiting for one. Bounded by relays and open commands."""

    _newest: dict[_Key, int] = field(default_factory=dict)
    _awaited: dict[_Key, dict[str, Awaited]] = field(default_factory=dict)

    def saw(self, gateway: str, readings: Iterable[RelayReading]) -> list[Awaited]:
        """Take in readings that a gateway wrote; return the commands that they prove, which are all this gateway's own."""
        proved: list[Awaited] = []
        for reading in readings:
            key = (gateway, reading.node, reading.channel, reading.on)
            if reading.time_ms <= self._newest.get(key, -1):
                continue
            self._newest[key] = reading.time_ms
            waiting = self._awaited.get(key, {})
            proved.extend(item for item in waiting.values() if reading.time_ms >= item.not_before_ms)
        for item in proved:
            self.forget(item)
        return proved

    def wait_for(self, item: Awaited) -> bool:
        """Whether a reading already seen proves the command; if not, remember that it waits."""
        key = (item.gateway, item.node, item.channel, item.on)
        if self._newest.get(key, -1) >= item.not_before_ms:
            return True
        self._awaited.setdefault(key, {})[item.command_id] = item
        return False

    def forget(self, item: Awaited) -> None:
        """Stop waiting for a command's reading."""
        key = (item.gateway, item.node, item.channel, item.on)
        waiting = self._awaited.get(key)
        if waiting is not None:
            waiting.pop(item.command_id, None)
            if not waiting:
                del self._awaited[key]

    def waiting(self) -> list[Awaited]:
        """Every command that waits for its reading."""
        return [item for items in self._awaited.values() for item in items.values()]
