"""A relay's contact: follows its coil after a delay, unless it is welded or its wire is broken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ContactFault(Enum):
    """A contact that no longer follows its coil: where it stays."""

    WELDED_CLOSED = 1
    STUCK_OPEN = 0


@dataclass(frozen=True, slots=True)
class ContactChange:
    """The contact of relay `relay` closed or opened: the world saw it at `time_us` (host's CLOCK_MONOTONIC).

    `coil_us` is when the board drove the coil that the contact follows, or lost its power: as exact as the board's own clock,
    however long the world took to look.
    """

    time_us: int
    relay: int
    closed: bool
    coil_us: int


class RelayContact:
    """The contact of one relay, as a pure model: what the coil asks of it goes in, its position comes out."""

    def __init__(self, delay_us: int, *, closed: bool = False) -> None:
        self.closed = closed
        self.fault: ContactFault | None = None
        self._delay_us = delay_us
        self._closing = closed
        self._coil_changed_us = 0

    def advance(self, now_us: int, *, closing: bool, coil_changed_us: int) -> bool:
        """Move the contact towards what the coil asks; return whether it changed.

        `coil_changed_us` is the time of the coil's last change.
        """
        if closing != self._closing:
            self._closing, self._coil_changed_us = closing, coil_changed_us
        target = bool(self.fault.value) if self.fault is not None else self._closing
        if target == self.closed or now_us < self._coil_changed_us + self._delay_us:
            return False
        self.closed = target
        return True
