"""Wakes the streams of a gateway inside this process; other processes notice by polling the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Notifier:
    """One event per open stream, set when something for its gateway changed."""

    def __init__(self) -> None:
        self._streams: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closing = False

    @contextmanager
    def subscribed(self, gateway: str) -> Iterator[asyncio.Event]:
        """An event that `notify` sets, for the time of the block."""
        event = asyncio.Event()
        self._streams[gateway].add(event)
        try:
            yield event
        finally:
            self._streams[gateway].discard(event)
            if not self._streams[gateway]:
                del self._streams[gateway]

    def notify(self, *gateways: str) -> None:
        """Something changed for these gateways."""
        for gateway in gateways:
            for event in self._streams.get(gateway, ()):
                event.set()

    def close(self) -> None:
        """End every stream: the server is going down, and a gateway that reconnects misses nothing."""
        self.closing = True
        self.notify(*self._streams)

    def connected(self) -> dict[str, int]:
        """Open streams per gateway."""
        return {gateway: len(events) for gateway, events in self._streams.items()}
