"""When to read a socket: at once while little comes, by the clock while much comes, so that one wake-up serves many datagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MOST_AT_ONCE: Final = 256
"""Datagrams per look; others of the event loop have their turn in between."""


ENOUGH: Final = 64
"""Datagrams that share a wake-up without its cost being felt any more; nobody has to wait for others then."""
IN_A_ROW: Final = 3
"""So many times in a row the descriptor has to be ready soon after the time before: two datagrams may be neighbours by chance."""


class Watch:
    """Waking a thread costs more than handling a datagram, and each datagram wakes the loop, the disk's thread and the loop again.

    The descriptor is watched, and read as soon as it is ready. Once it is ready again within `gather_s`, several times in a row, it is
    not watched any more but looked at by the clock, until there is nothing: every `gather_s`, or sooner where so many come that
    `ENOUGH` are there before. So a lone datagram never waits, and one of many waits for `gather_s` at most.

    Args:
        loop: The event loop, in whose thread all of this happens.
        descriptor: Becomes readable.
        read: Reads up to `MOST_AT_ONCE` datagrams, and says how many there were.
        gather_s: 0: always read at once.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, read: Callable[[], int], gather_s: float
    ) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._read = read
        self._gather_s = gather_s
        self._read_s = -gather_s
        self._soon = 0
        self._next: asyncio.Handle | None = None
        self._stopped = False

    def start(self) -> None:
        """Watch from now on."""
        self._stopped = False
        self._loop.add_reader(self._descriptor, self._ready)

    def stop(self) -> None:
        """Read no more; also from within `read`."""
        self._stopped = True
        self._loop.remove_reader(self._descriptor)
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _ready(self) -> None:
        before_s, self._read_s = self._read_s, self._loop.time()
        self._soon = self._soon + 1 if self._read_s - before_s < self._gather_s else 0
        if self._soon >= IN_A_ROW:
            self._loop.remove_reader(self._descriptor)
            self._look_again(self._read_s - before_s)
        else:
            self._read()

    def _look(self) -> None:
        before_s, self._read_s = self._read_s, self._loop.time()
        self._look_again(self._read_s - before_s)

    def _look_again(self, passed_s: float) -> None:
        count = 0
        try:
            count = self._read()
        finally:  # whatever was raised, the socket is read again
            if self._stopped:
                self._next = None
            elif count >= MOST_AT_ONCE:
                self._next = self._loop.call_soon(self._look)  # more waits already
            elif count:
                self._next = self._loop.call_later(min(self._gather_s, passed_s * ENOUGH / count), self._look)
            else:
                self._next = None
                self._soon = 0
                self.start()
