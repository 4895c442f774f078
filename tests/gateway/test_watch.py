"""When the CoAP socket is read: at once, or by the clock while much comes; with a simulated event loop."""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Any, Final

from andon_gateway.coap.watch import ENOUGH, MOST_AT_ONCE, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

GATHER_S: Final = 0.005


class Timer:
    """A call to come."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """As much of an event loop as a watch uses; its time is that of the arrivals.

    Attributes:
        waits: For each datagram, how long it waited to be read.
        wakeups: How often something ran.
    """

    def __init__(self, arrivals: list[float]) -> None:
        self._arrivals = sorted(arrivals)
        self._at = 0
        self._now = 0.0
        self._reader: Callable[[], None] | None = None
        self._calls: list[tuple[float, int, Callable[[], None], Timer]] = []
        self._number = 0
        self.waits: list[float] = []
        self.wakeups = 0

    def time(self) -> float:
        return self._now

    def add_reader(self, _descriptor: int, call: Callable[[], None]) -> None:
        assert self._reader is None
        self._reader = call

    def remove_reader(self, _descriptor: int) -> None:
        self._reader = None

    def call_soon(self, call: Callable[[], None]) -> Timer:
        return self.call_later(0, call)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer()
        self._number += 1
        heapq.heappush(self._calls, (self._now + delay_s, self._number, call, timer))
        return timer

    def read(self) -> int:
        count = 0
        while self._at < len(self._arrivals) and self._arrivals[self._at] <= self._now and count < MOST_AT_ONCE:
            self.waits.append(self._now - self._arrivals[self._at])
            self._at += 1
            count += 1
        return count

    def run(self) -> None:
        """Until everything is read and nothing is to come."""
        while True:
            ready = self._arrivals[self._at] if self._at < len(self._arrivals) and self._reader else None
            due = self._calls[0][0] if self._calls else None
            moments = [moment for moment in (ready, due) if moment is not None]
            if not moments:
                return
            self._now = max(self._now, min(moments))
            self.wakeups += 1
            if due is not None and due <= self._now:
                _, _, call, timer = heapq.heappop(self._calls)
                if not timer.cancelled:
                    call()
            elif self._reader is not None:
                self._reader()


def watched(arrivals: list[float], gather_s: float = GATHER_S) -> Loop:
    loop = Loop(arrivals)
    simulated: Any = loop
    Watch(simulated, 7, loop.read, gather_s).start()
    loop.run()
    assert len(loop.waits) == len(arrivals), "something was never read"
    return loop


def test_a_lone_datagram_never_waits() -> None:
    loop = watched([number * 0.02 for number in range(50)])
    assert max(loop.waits) == 0
    assert loop.wakeups == 50


def test_many_share_a_wakeup_and_wait_no_longer_than_they_may() -> None:
    loop = watched([number * 0.001 for number in range(1000)])
    assert max(loop.waits) <= GATHER_S + 1e-9
    assert loop.wakeups <= 250


def test_neighbours_by_chance_do_not_wait() -> None:
    pairs = [number * 0.1 + step for number in range(100) for step in (0.0, 0.001, 0.002)]
    assert max(watched(pairs).waits) == 0


def test_nobody_waits_for_more_than_enough() -> None:
    loop = watched([number / 40_000 for number in range(20_000)])
    steady = sorted(loop.waits[200:])
    assert steady[-1] <= 2 * ENOUGH / 40_000, "at 40,000/s enough have come after 1.6 ms"
    assert loop.wakeups <= 20_000 / ENOUGH * 2


def test_a_flood_is_read_without_pauses() -> None:
    loop = watched([1.0] * (10 * MOST_AT_ONCE))
    assert max(loop.waits) == 0 or loop.wakeups <= 14
    assert max(loop.waits) <= GATHER_S


def test_without_gathering_everything_is_read_at_once() -> None:
    assert max(watched([number * 0.0001 for number in range(500)], 0.0).waits) == 0


def test_whatever_arrives_is_read_in_time() -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(50):
        moments, now = [], 0.0
        for _ in range(300):
            now += dice.choice([0.0, dice.expovariate(1000), dice.expovariate(100), dice.expovariate(2)])
            moments.append(now)
        assert max(watched(moments).waits) <= GATHER_S + 1e-9, f"seed {seed}"


def test_nothing_is_read_after_the_end() -> None:
    loop = Loop([0.0, 0.001, 0.002, 0.003])  # the last of them makes it gather
    simulated: Any = loop
    watch = Watch(simulated, 7, loop.read, GATHER_S)
    watch.start()
    loop.call_later(0.0015, watch.stop)
    loop.run()
    assert len(loop.waits) == 2


def test_a_fault_of_the_reader_does_not_make_the_gateway_deaf() -> None:
    loop = Loop([number * 0.002 for number in range(100)])
    faults = iter(range(20))

    def read() -> int:
        count = loop.read()
        if loop.time() > 0.1 and next(faults, None) is not None:
            raise RuntimeError("a fault")
        return count

    simulated: Any = loop
    Watch(simulated, 7, read, GATHER_S).start()
    raised = 0
    while len(loop.waits) < 100:
        try:
            loop.run()
        except RuntimeError:
            raised += 1
    assert raised == 20
    assert max(loop.waits) <= GATHER_S + 1e-9
