"""Who speaks OSCORE with keys that are not here: remembered for the operator, in bounded memory and at a bounded rate.

Anybody can send anything as a kid, so what is kept is only a hint where to look, and nothing depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_gateway.nodes.table import Address

MOST: Final = 64
NEW_EVERY_MS: Final = 1000
"""One new kid a second: who invents them drowns nobody out for long."""
SILENT_MS: Final = 600_000
"""One that was silent as long makes room, and is told no more."""
MAX_KID_BYTES: Final = 7  # RFC 8613 5.1: nonce length minus 6


@dataclass(slots=True)
class Stranger:
    """One unknown kid; times in ms since the epoch."""

    first_ms: int
    last_ms: int
    messages: int
    address: Address


class Strangers:
    """By kid."""

    def __init__(self) -> None:
        self._known: dict[bytes, Stranger] = {}
        self._newest_ms = -NEW_EVERY_MS

    def heard(self, kid: bytes, address: Address, now_ms: int) -> None:
        """A message came whose keys are not here."""
        known = self._known.get(kid)
        if known is not None:
            known.last_ms, known.address = max(now_ms, known.last_ms), address
            known.messages += 1
            return
        if len(kid) > MAX_KID_BYTES or now_ms - self._newest_ms < NEW_EVERY_MS:
            return
        if len(self._known) >= MOST:
            oldest = min(self._known, key=lambda name: self._known[name].last_ms)
            if now_ms - self._known[oldest].last_ms < SILENT_MS:
                return
            del self._known[oldest]
        self._newest_ms = now_ms
        self._known[kid] = Stranger(now_ms, now_ms, 1, address)

    def present(self, now_ms: int) -> Mapping[bytes, Stranger]:
        """Those that were heard lately."""
        return {kid: item for kid, item in sorted(self._known.items()) if now_ms - item.last_ms < SILENT_MS}

    def forget(self, kid: bytes) -> None:
        """The keys are here now."""
        self._known.pop(kid, None)
