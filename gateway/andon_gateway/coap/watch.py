"""When to read a socket: at once while little comes, by the clock while much comes, so that one wake-up serves many datagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MOST_AT_ONCE: Final = 256
"""Datagrams per look; others of the event loop have their turn in between."""


class Watch:
    """Waking a thread costs more than handling a datagram, and each datagram wakes the loop, the disk's thread and the loop again.

    The descriptor is watched, and read as soon as it is ready. When it is ready again within `gather_s`, it is not watched any more but
    looked at every `gather_s`, until there is nothing. So a lone datagram never waits, and one of many waits for `gather_s` at most.

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
        self._ready_s = -gather_s
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
        before_s, self._ready_s = self._ready_s, self._loop.time()
        much = self._ready_s - before_s < self._gather_s
        if much:
            self._loop.remove_reader(self._descriptor)
            self._look()
        else:
            self._read()

    def _look(self) -> None:
        count = 0
        try:
            count = self._read()
        finally:  # whatever was raised, the socket is read again
            if self._stopped:
                self._next = None
            elif count >= MOST_AT_ONCE:
                self._next = self._loop.call_soon(self._look)  # more waits already
            elif count:
                self._next = self._loop.call_later(self._gather_s, self._look)
            else:
                self._next = None
                self.start()
