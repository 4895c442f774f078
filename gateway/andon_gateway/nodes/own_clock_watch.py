"""Looks at the gateway's own clock all the time, notes it on disk, and says when it cannot be right."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from andon_gateway.nodes.own_clock import SINCE_MS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from andon_gateway.nodes.own_clock import OwnClock
    from andon_gateway.spool.database import GroupCommit

log = logging.getLogger(__name__)

CHECK_S: Final = 1.0
NOTE_EVERY_MS: Final = 60_000
TELL_EVERY_MS: Final = 600_000
NOTED: Final = "clock_ms"


def read_noted(connection: sqlite3.Connection) -> int:
    """The latest time that an earlier run believed to have passed, ms since the epoch; 0: there was none.

    A file of an older gateway has no note; then when a node was last registered.
    """
    query = "SELECT coalesce((SELECT value FROM tally WHERE name = ?), (SELECT max(seen_ms) FROM node), 0)"
    return int(connection.execute(query, (NOTED,)).fetchone()[0])


class OwnClockWatch:
    """Used in the event loop.

    Args:
        clock: To be judged.
        database: Where the note is.
        now_ms: What the clock shows, ms since the epoch.
        synchronised: Whether the system says that a time server has set it.
        judged: Called after each look.
    """

    def __init__(
        self,
        clock: OwnClock,
        database: GroupCommit,
        now_ms: Callable[[], int],
        synchronised: Callable[[], bool],
        judged: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._database = database
        self._now_ms = now_ms
        self._synchronised = synchronised
        self._judged = judged
        self._right = True
        self._told_ms = 0
        self._noted_at_ms: int | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(CHECK_S)

    def look(self) -> None:
        """Once."""
        monotonic_ms = time.monotonic_ns() // 1_000_000
        self._clock.look(self._now_ms(), monotonic_ms, synchronised=self._synchronised())
        self._judged()
        self._tell(monotonic_ms)
        due = self._noted_at_ms is None or monotonic_ms - self._noted_at_ms >= NOTE_EVERY_MS
        if due and self._clock.right:  # what a wrong clock shows must not replace what a right one has shown
            self._noted_at_ms = monotonic_ms
            self._note(self._clock.noted_ms)

    def _tell(self, monotonic_ms: int) -> None:
        clock, before = self._clock, self._right
        self._right = clock.right
        if self._right:
            if not before:
                log.info("this gateway's clock is believed again")
        elif before or monotonic_ms - self._told_ms >= TELL_EVERY_MS:
            self._told_ms = monotonic_ms
            text = (
                "this gateway's clock is wrong: it is later than %s; packs are answered 5.03 until somebody sets the clock"
                " (if it is right, set gateway.trust_clock = true)"
                if clock.behind
                else "this gateway's clock is probably behind: since the start more nodes say much later times than not (%s);"
                " their packs are answered 5.03 until somebody sets the clock (if it is right, set gateway.trust_clock = true)"
            )
            log.warning(text, _date(max(clock.noted_ms, SINCE_MS)) if clock.behind else f"{clock.claims} do")

    def _note(self, noted_ms: int) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO tally VALUES (?, ?)", (NOTED, noted_ms))

        self._database.submit(change, lambda _result, _error: None)


def _date(time_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ms / 1000))
