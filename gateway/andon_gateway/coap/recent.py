"""Which requests came lately, by sender and message id, and what they were answered (RFC 7252 4.5). Pure; of bounded size."""

from __future__ import annotations

from collections import deque
from typing import Final

EXCHANGE_LIFETIME_S: Final = 247.0
"""RFC 7252 4.8.2: from then on a message id may be used for something else."""
MOST_REMEMBERED: Final = 1 << 16
"""Beyond, the oldest are forgotten early. A pack's own identity still keeps it from being counted twice."""
MOST_PEERS: Final = 1 << 15

ELSEWHERE: Final = None
"""Stands for an answer: aiocoap has the request, and knows what to do with another of the same id."""
UNDER_WAY: Final = b""
"""Stands for an answer: not known yet, or never to be repeated (non-confirmable): a duplicate is ignored."""


class RecentRequests:
    """Answers by key, which is the sender's number and the message id; the oldest are forgotten in the order of their arrival.

    Args:
        most: Requests remembered.
        lifetime_s: How long.
    """

    __slots__ = ("_lifetime_s", "_most", "_order", "answers", "fresh")

    def __init__(self, most: int = MOST_REMEMBERED, lifetime_s: float = EXCHANGE_LIFETIME_S) -> None:
        self._most = most
        self._lifetime_s = lifetime_s
        self._order: deque[tuple[float, list[int]]] = deque()
        self.answers: dict[int, bytes | None] = {}
        """By key: the answer to repeat, `UNDER_WAY` or `ELSEWHERE`."""
        self.fresh: list[int] = []
        """Keys added to `answers` since the last `age`."""

    def age(self, now_s: float) -> None:
        """Note when the fresh ones came, and forget what is too old or too much. To be called after each batch."""
        if self.fresh:
            self._order.append((now_s + self._lifetime_s, self.fresh))
            self.fresh = []
        while self._order and (self._order[0][0] <= now_s or len(self.answers) > self._most):
            for key in self._order.popleft()[1]:
                self.answers.pop(key, None)

    def settle(self, key: int, answer: bytes) -> None:
        """Note the answer of a request that is still remembered."""
        if key in self.answers:
            self.answers[key] = answer
