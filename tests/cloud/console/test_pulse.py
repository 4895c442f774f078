from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cloud.console.memory_feed import MemoryFeed

from andon_cloud.console.pulse import Beat, Pulse

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_cloud.console.feed import FactoryView

NOW = 1_764_000_000_000


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the conditions are plain values of the feed and the viewers
            await asyncio.sleep(0.005)


async def test_many_viewers_share_one_refresh() -> None:
    feed = MemoryFeed(3, NOW)
    pulse = Pulse(feed, lambda: NOW, period_s=0.02)
    seen: list[list[Beat]] = [[] for _ in range(20)]
    leave = [pulse.watch(one.append) for one in seen]
    await until(lambda: all(len(one) >= 3 for one in seen))
    assert feed.reads <= max(map(len, seen)) + 1
    for each in leave:
        each()
    await pulse.stop()


async def test_nobody_looking_costs_nothing() -> None:
    feed = MemoryFeed(1, NOW)
    pulse = Pulse(feed, lambda: NOW, period_s=0.01)
    seen: list[Beat] = []
    leave = pulse.watch(seen.append)
    await until(lambda: len(seen) >= 2)
    leave()
    task = pulse._task
    assert task is not None
    await asyncio.wait_for(task, 5)
    reads = feed.reads
    leave = pulse.watch(seen.append)
    await until(lambda: feed.reads > reads)
    leave()
    await pulse.stop()
    await pulse.stop()


async def test_trouble_is_told_and_the_last_values_stay() -> None:
    feed = MemoryFeed(2, NOW)
    pulse = Pulse(feed, lambda: NOW, period_s=0.01)
    seen: list[Beat] = []
    leave = pulse.watch(seen.append)
    await until(lambda: bool(seen))
    feed.broken = "The store is away."
    await until(lambda: seen[-1].trouble is not None)
    assert seen[-1].trouble == "The store is away."
    assert seen[-1].factory is not None
    assert len(seen[-1].factory.machines) == 2
    feed.broken = None
    await until(lambda: seen[-1].trouble is None)
    leave()
    await pulse.stop()


async def test_a_broken_viewer_does_not_stop_the_others() -> None:
    pulse = Pulse(MemoryFeed(1, NOW), lambda: NOW, period_s=0.01)
    seen: list[Beat] = []
    calls: list[Beat] = []

    def broken(beat: Beat) -> None:
        calls.append(beat)
        raise RuntimeError("a deleted element")

    pulse.watch(broken)
    pulse.watch(seen.append)
    await until(lambda: len(seen) >= 3)
    assert len(calls) == 1
    await pulse.stop()


async def test_a_fault_in_the_feed_does_not_end_the_loop() -> None:
    class Failing(MemoryFeed):
        async def factory(self) -> FactoryView:
            self.reads += 1
            raise ZeroDivisionError

    feed = Failing(1, NOW)
    pulse = Pulse(feed, lambda: NOW, period_s=0.01)
    seen: list[Beat] = []
    pulse.watch(seen.append)
    await until(lambda: len(seen) >= 3)
    assert all(beat.trouble for beat in seen)
    await pulse.stop()


async def test_current_is_taken_once_while_it_is_fresh() -> None:
    feed = MemoryFeed(1, NOW)
    clock = [NOW]
    pulse = Pulse(feed, lambda: clock[0], period_s=1.0)
    await pulse.current()
    await pulse.current()
    assert feed.reads == 1
    clock[0] += 2001
    await pulse.current()
    assert feed.reads == 2
