"""Reports to a cloud that fails on some of them, or on all: in virtual time, and from a real gateway."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from gateway.stand_in_cloud import wait_until
from gateway.test_commands import order
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.cloud.delivery import RETRY_MOST_S, ReportDelivery
from andon_gateway.cloud.turns import BACK_MOST_S

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.gateway_process import GatewayProcess
    from gateway.stand_in_cloud import StandInCloud

HOUR_S = 3600.0


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop that does not wait: its clock jumps to whatever is due next."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]  # of asyncio.BaseSelectorEventLoop
        really = selector.select

        def select(timeout: float | None) -> Any:
            assert timeout is not None, "everything waits for ever"
            self._now_s += timeout
            return really(0)

        selector.select = select

    def time(self) -> float:
        return self._now_s


@dataclass(frozen=True)
class Note:
    """One report."""

    order: str
    number: int

    @property
    def state(self) -> str:
        return str(self.number)


@dataclass
class Cloud:
    """Takes reports, fails on some orders until it is mended, and on everything while it is away.

    Attributes:
        away: From, until, and what it answers then (0: no connection), in seconds.
        bad: The orders on which it fails, until when.
    """

    away: tuple[float, float, int]
    bad: dict[str, float]
    pending: list[Note] = field(default_factory=list)
    taken: list[tuple[float, Note]] = field(default_factory=list)
    attempts: list[tuple[float, str]] = field(default_factory=list)

    def pending_reports(self, most: int, without: Collection[str] = ()) -> Future[list[Note]]:
        return done([note for note in self.pending if note.order not in without][:most])

    def delivered(self, report: Note) -> Future[None]:
        self.pending.remove(report)
        return done(None)

    async def post(self, report: Note) -> httpx.Response:
        now_s = asyncio.get_running_loop().time()
        self.attempts.append((now_s, report.order))
        since_s, until_s, status = self.away
        if not since_s <= now_s < until_s:
            status = 500 if now_s < self.bad.get(report.order, 0.0) else 204
        if not status:
            raise httpx.ConnectError("refused")
        if status == httpx.codes.NO_CONTENT:
            self.taken.append((now_s, report))
        return httpx.Response(status, request=httpx.Request("POST", "http://cloud"))


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def live(cloud: Cloud, arrivals: list[tuple[float, Note]], until_s: float) -> ReportDelivery[Note]:
    """Let reports come at their times, and time pass."""

    async def run() -> ReportDelivery[Note]:
        loop = asyncio.get_running_loop()
        delivery = ReportDelivery("note", cloud, cloud.post)
        task = asyncio.create_task(delivery.deliver())
        for at_s, note in sorted(arrivals, key=lambda item: item[0]):
            await asyncio.sleep(at_s - loop.time())
            cloud.pending.append(note)
            delivery.wake()
        await asyncio.sleep(until_s - loop.time())
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return delivery

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(run())


ORDERS = [f"o-{number}" for number in range(8)]


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(1, 4), min_size=8, max_size=8),
    times=st.lists(st.floats(0, HOUR_S), min_size=32, max_size=32),
    bad=st.dictionaries(st.sampled_from(ORDERS), st.floats(0, 3 * HOUR_S), max_size=5),
    since_s=st.floats(0, HOUR_S),
    lasts_s=st.sampled_from([0.0, 5.0, 600.0, HOUR_S]),
    status=st.sampled_from([0, 500, 502, 503]),
)
def test_every_report_arrives_in_its_order_s_order_and_only_bad_ones_wait(
    counts: list[int], times: list[float], bad: dict[str, float], since_s: float, lasts_s: float, status: int
) -> None:
    until_s = since_s + lasts_s
    cloud = Cloud((since_s, until_s, status), bad)
    arrivals = [
        (at_s, Note(name, number))
        for index, name in enumerate(ORDERS)
        for number, at_s in enumerate(sorted(times[4 * index : 4 * index + counts[index]]))
    ]
    delivery = live(cloud, arrivals, 3 * HOUR_S + 10 * BACK_MOST_S)
    for name in ORDERS:
        assert [note.number for _, note in cloud.taken if note.order == name] == [*range(counts[ORDERS.index(name)])]
    assert (cloud.pending, delivery.turns.put_back) == ([], 0)
    came = {note: at_s for at_s, note in arrivals}
    for at_s, note in cloud.taken:
        if note.order not in bad:
            # The pause under way, and one for each that has to be found out before it is this one's turn.
            allowed_s = (len(bad) + 2) * RETRY_MOST_S
            cut_off = came[note] < until_s and since_s <= came[note] + allowed_s
            assert at_s <= (until_s if cut_off else came[note]) + allowed_s, (note, at_s, came[note])


@settings(deadline=None, max_examples=12)
@given(orders=st.integers(1, 300), status=st.sampled_from([0, 500, 502, 503]))
def test_a_cloud_that_is_away_gets_one_try_at_a_time_however_much_waits(orders: int, status: int) -> None:
    cloud = Cloud((0.0, HOUR_S, status), {})
    live(cloud, [(0.0, Note(f"o-{number}", 0)) for number in range(orders)], 2 * HOUR_S)
    tries = [at_s for at_s, _ in cloud.attempts if at_s < HOUR_S]
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert min(pauses) > 0
    assert min(pauses[8:]) >= RETRY_MOST_S / 2
    assert cloud.pending == []


def test_a_bad_order_is_tried_less_and_less_and_its_hundred_reports_are_in_nobody_s_way() -> None:
    cloud = Cloud((0.0, 0.0, 0), {"bad": 5 * HOUR_S})
    arrivals = [(0.0, Note("bad", number)) for number in range(150)]
    arrivals += [(10.0 * number, Note(f"o-{number}", 0)) for number in range(1000)]
    delivery = live(cloud, arrivals, 4 * HOUR_S)
    late = [at_s - 10.0 * int(note.order.removeprefix("o-")) for at_s, note in cloud.taken]
    assert len(late) == 1000
    assert max(late) < 1.0
    tries = [at_s for at_s, name in cloud.attempts if name == "bad"]
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert min(pauses[10:]) >= BACK_MOST_S / 2
    assert max(pauses) <= BACK_MOST_S + 1
    assert (delivery.turns.put_back, delivery.failures) == (1, len(tries))


def test_a_real_gateway_delivers_around_a_report_that_the_cloud_cannot_take(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    """Over a kill as well; the commands are for a node that nobody knows and expire."""
    cloud.report_rule = lambda name: 500 if name == "bad" else None
    gateway.start()
    cloud.command(**order("bad", lives_s=0.5))
    wait_until(lambda: cloud.attempts["bad"], "the first try")
    cloud.command(**order("good-1", lives_s=0.5))
    wait_until(lambda: cloud.reported("good-1") == ["sent", "expired"], "the other's reports")
    gateway.kill()
    gateway.start()
    cloud.command(**order("good-2", lives_s=0.5))
    wait_until(lambda: cloud.reported("good-2") == ["sent", "expired"], "the other's reports after a kill")
    put_back = 'andon_gateway_reports_put_back{kind="command"} 1.0'
    wait_until(lambda: put_back in gateway.get("/metrics"), "the metric")
    assert "fails on those of command bad" in gateway.log.read_text()
    assert cloud.reported("bad") == []
    cloud.report_rule = lambda _name: None
    wait_until(lambda: cloud.reported("bad") == ["sent", "expired"], "the reports, in their order")
    wait_until(lambda: put_back not in gateway.get("/metrics"), "the metric")
