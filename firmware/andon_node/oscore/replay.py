"""The replay window of received Partial IVs (RFC 8613 7.4; the sliding window of RFC 6347 4.1.2.6)."""

from micropython import const

_SIZE = const(32)  # RFC 8613 3.2.2
_FULL = const((1 << _SIZE) - 1)


class ReplayWindow:
    """Remembers which of the newest 32 numbers were received; older ones count as received.

    Args:
        fresh: True only for keys that were never used before. After a restart nobody knows what was received, so the
            window stays unusable until `restart` (RFC 8613 B.1.2).
    """

    def __init__(self, *, fresh: bool) -> None:
        self.usable = fresh
        self._top = -1  # the highest number received
        self._seen = 0  # bit i: `_top - i` was received

    def is_new(self, number: int) -> bool:
        """True if the number was surely not received before."""
        if not self.usable:
            return False
        age = self._top - number
        return age < 0 or (age < _SIZE and not self._seen >> age & 1)

    def accept(self, number: int) -> None:
        """Mark a number that `is_new`, after its message was verified."""
        ahead = number - self._top
        if ahead <= 0:
            self._seen |= 1 << -ahead
            return
        self._top = number
        self._seen = (self._seen << ahead & _FULL) | 1 if ahead < _SIZE else 1

    def restart(self, number: int) -> None:
        """Begin again with the number of a message proven fresh: it and everything below is received."""
        self.usable = True
        self._top = number
        self._seen = _FULL
