"""Whether the gateway's own clock can be right, by what it noted before and by what the nodes say. Pure.

Nodes have their time from the gateway. One that runs on while the gateway starts with a dead clock says times that look far ahead, as does a
node whose own clock is wrong; and what is too far ahead is dropped. So it is asked who is more likely to be wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from typing import Final

from andon_gateway.senml.pack import FUTURE_LIMIT_MS

SINCE_MS: Final = 1_735_689_600_000
"""2025-01-01 UTC, before there were gateways: the time is later in any case."""
UNTIL_MS: Final = 4_102_444_800_000
"""2100-01-01 UTC: whoever says that this has passed is wrong."""
AGREE_MS: Final = 7 * 24 * 3_600_000
"""Nodes that say times in the same or neighbouring spans of this length agree: what they send first is as old as their journal is long."""
CLAIM_MS: Final = 600_000
"""What a node says holds as long, unless it says it again; a node that is told to wait does so at least every minute."""
GRACE_MS: Final = 3_600_000
"""From the start, a single node that nobody contradicts is given the benefit of the doubt as long."""

Others = Callable[[Container[str], int], int]
"""How many nodes, without the given ones, were in time since the start; counting may end at the given number."""


class OwnClock:
    """Used in the event loop; `look` has to be called first, and every second or so.

    Attributes:
        behind: The clock is certainly wrong: before 2025, or more than a day before what the gateway noted. Nothing can be dated.
        doubted: The nodes outvote the clock.
        synchronised: As last told.
        noted_ms: Latest time that the gateway believes has passed, to be kept for the next start; ms since the epoch.

    Args:
        others: The nodes that contradict those that are ahead.
        noted_ms: From the run before; 0: none.
        trusted: A person vouches for the clock.
    """

    def __init__(self, others: Others, noted_ms: int = 0, *, trusted: bool = False) -> None:
        self._others = others
        self._trusted = trusted
        self._set_back = False
        self._claims: dict[str, tuple[int, int]] = {}
        self._spans: Counter[int] = Counter()
        self._looked: tuple[int, int] | None = None
        self._started_ms = 0
        self.noted_ms = noted_ms
        self.behind = False
        self.doubted = False
        self.synchronised = False

    @property
    def right(self) -> bool:
        """Whether nothing speaks against the clock."""
        return not (self.behind or self.doubted)

    @property
    def claims(self) -> int:
        """Nodes that say that it is much later."""
        return len(self._claims)

    def look(self, now_ms: int, monotonic_ms: int, *, synchronised: bool) -> None:
        """Judge the clock anew.

        Args:
            now_ms: What it shows, ms since the epoch.
            monotonic_ms: By a clock that nobody sets.
            synchronised: Whether the system says that a time server has set it.
        """
        if self._looked is None:
            self._started_ms = monotonic_ms
        elif now_ms - self._looked[0] - (monotonic_ms - self._looked[1]) < -FUTURE_LIMIT_MS:
            # Batteries and starts lose time, nothing but a person or a time server takes it back while a gateway runs.
            self._set_back = True
        self._looked = now_ms, monotonic_ms
        self.synchronised = synchronised
        self.behind = now_ms < SINCE_MS or (not self._believed and now_ms + FUTURE_LIMIT_MS < self.noted_ms)
        for node, (claim_ms, at_ms) in list(self._claims.items()):
            if self._believed or claim_ms <= now_ms + FUTURE_LIMIT_MS or monotonic_ms - at_ms > CLAIM_MS:
                self._withdraw(node)
        self.doubted = any(self._outvoted(span) for span in list(self._spans))
        if self.right:
            self.noted_ms = now_ms if self._believed else max(now_ms, self.noted_ms)

    def holds(self, node: str, claim_ms: int, now_ms: int, *, votes: bool) -> bool:
        """Whether a pack has to wait, because it may be the gateway's clock that is wrong and not the node's.

        Args:
            node: The sender.
            claim_ms: Newest time in the pack that is too far ahead, ms since the epoch.
            now_ms: What the clock shows.
            votes: Whether the node has a say, not being a stranger.
        """
        if self._believed or not now_ms + FUTURE_LIMIT_MS < claim_ms < UNTIL_MS:
            return False
        span = claim_ms // AGREE_MS
        if votes:
            self._withdraw(node)
            self._claims[node] = claim_ms, 0 if self._looked is None else self._looked[1]
            self._spans[span] += 1
        held = self._outvoted(span)
        self.doubted = self.doubted or held
        return held

    @property
    def _believed(self) -> bool:
        return self._trusted or self.synchronised or self._set_back

    def _withdraw(self, node: str) -> None:
        claim = self._claims.pop(node, None)
        if claim is not None:
            span = claim[0] // AGREE_MS
            self._spans[span] -= 1
            if not self._spans[span]:
                del self._spans[span]

    def _outvoted(self, span: int) -> bool:
        """Whether those who say about this time are more than those who were in time."""
        votes = sum(self._spans.get(near, 0) for near in (span - 1, span, span + 1))
        since_ms = 0 if self._looked is None else self._looked[1] - self._started_ms
        if not votes or (votes == 1 and since_ms > GRACE_MS):
            return False
        return self._others(self._claims, votes) < votes
