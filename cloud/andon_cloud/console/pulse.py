"""One refresh loop for all viewers: asks the feed once a second, and only while somebody is looking."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from andon_cloud.console.feed import ConsoleFeed, FactoryView, FeedError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beat:
    """What the viewers get once a second: the newest factory there is, and what kept us from a newer one."""

    now_ms: int
    factory: FactoryView | None
    trouble: str | None = None


Viewer = Callable[[Beat], None]


class Pulse:
    """Refreshes the factory for every viewer together, so a hundred wall displays cost the store as much as one."""

    def __init__(self, feed: ConsoleFeed, now_ms: Callable[[], int], period_s: float = 1.0) -> None:
        self._feed = feed
        self._now_ms = now_ms
        self._period_s = period_s
        self._viewers: set[Viewer] = set()
        self._beat: Beat | None = None
        self._task: asyncio.Task[None] | None = None

    async def current(self) -> Beat:
        """The newest beat, taken now if there is none of the last two periods."""
        beat = self._beat
        if beat is None or self._now_ms() - beat.now_ms > 2000 * self._period_s:
            return await self._refresh()
        return beat

    def watch(self, viewer: Viewer) -> Callable[[], None]:
        """Call `viewer` on every beat until the returned function is called."""
        self._viewers.add(viewer)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="console pulse")

        def leave() -> None:
            self._viewers.discard(viewer)

        return leave

    async def beat_now(self) -> None:
        """Refresh and tell the viewers at once, without waiting for the next second (after a relay was switched)."""
        self._tell(await self._refresh())

    async def stop(self) -> None:
        """End the loop; safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while self._viewers:
            self._tell(await self._refresh())
            await asyncio.sleep(self._period_s)

    async def _refresh(self) -> Beat:
        known = self._beat.factory if self._beat else None
        try:
            self._beat = Beat(self._now_ms(), await self._feed.factory())
        except FeedError as error:
            self._beat = Beat(self._now_ms(), known, str(error))
        except Exception:  # the loop serves every viewer and must outlive a fault in one refresh
            log.exception("console refresh failed")
            self._beat = Beat(self._now_ms(), known, "The console cannot read the factory's data; see the cloud's log.")
        return self._beat

    def _tell(self, beat: Beat) -> None:
        for viewer in tuple(self._viewers):
            try:
                viewer(beat)
            except Exception:  # one broken page must not stop the others
                log.exception("a console page could not show a refresh")
                self._viewers.discard(viewer)
