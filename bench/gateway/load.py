"""The load generator: many nodes, each with one request on the way (RFC 7252 4.7: NSTART is 1), lean enough to saturate a server in C.

One thread, one epoll, frames built beforehand. Nodes repeat a request that stays unanswered, as CoAP does, and only the right answer
to the right request counts.
"""

from __future__ import annotations

import select
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from bench.gateway.packs import TOKEN

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

REPEAT_S: Final = 2.0
GIVE_UP_S: Final = 30.0
CHANGED: Final = 0x44
CREATED: Final = 0x41
_CHECK_S: Final = 0.25
_PATIENCE: Final = 3
_MOST_BYTES: Final = 2048
_ACK: Final = b"\x60\x00"
_TYPE: Final = 0x30


class LoadError(Exception):
    """The server does not answer; the figure would mean nothing."""


class Lane(Protocol):
    """One node: its connected socket and the frames that it still has to send."""

    link: socket.socket
    frames: deque[bytes]
    sent: bytes
    """The frame on the way; empty: none."""
    sent_s: float
    """When it was first sent."""
    repeated_s: float
    """When it was last sent."""
    repeats: ClassVar[bool]
    """Whether the node has to repeat what is lost on the way; TCP does so by itself."""

    def judge(self, data: bytes) -> int | None:
        """Whether a received frame settles the request on the way: its code byte, or None."""


@dataclass(slots=True)
class CoapLane:
    """A node that speaks CoAP; with `answers`, the answers are kept for whoever wants to open them later."""

    link: socket.socket
    frames: deque[bytes] = field(default_factory=deque)
    sent: bytes = b""
    sent_s: float = 0.0
    repeated_s: float = 0.0
    answers: list[bytes] | None = None
    repeats: ClassVar[bool] = True

    def judge(self, data: bytes) -> int | None:
        """The response's code; an empty acknowledgement (RFC 7252 5.2.2) settles nothing, its response comes later."""
        if not data[0] & _TYPE:  # a confirmable response wants to be acknowledged, one that comes again too
            self.link.send(_ACK + data[2:4])
        if not self.sent or data[TOKEN] != self.sent[TOKEN]:
            return None
        if self.answers is not None:
            self.answers.append(data)
        return data[1]


@dataclass(slots=True)
class MqttLane:
    """A node that publishes at QoS 1; its PUBACK counts as 2.04."""

    link: socket.socket
    frames: deque[bytes] = field(default_factory=deque)
    sent: bytes = b""
    sent_s: float = 0.0
    repeated_s: float = 0.0
    repeats: ClassVar[bool] = False

    def judge(self, data: bytes) -> int | None:
        """PUBACK (MQTT 3.1.1 3.4): 0x40; one publication is on the way, so it is the one."""
        return CHANGED if self.sent and data[:1] == b"\x40" else None


@dataclass(slots=True)
class Tally:
    """What the generator saw; `begin` is the performance counter's time of its beginning."""

    begin: float = 0.0
    answered: int = 0
    others: Counter[int] = field(default_factory=Counter)
    """Answers with another code than the wanted one."""
    repeated: int = 0
    late: int = 0
    """Sendings put off because the node still waited for its answer before."""
    seconds: float = 0.0
    generator_cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)


class Generator:
    """Drives lanes; use it as a context."""

    def __init__(self, lanes: Sequence[Lane], wanted: int = CHANGED) -> None:
        self.lanes = lanes
        self._wanted = wanted
        self._by_descriptor = {lane.link.fileno(): lane for lane in lanes}
        self._poll = select.epoll()
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.EPOLLIN)

    def close(self) -> None:
        """Release the epoll; the sockets stay."""
        self._poll.close()

    def saturate(self, seconds: float, *, window: int, least: int = 0) -> Tally:
        """Keep `window` requests on the way until the time is over or all frames are sent; then wait for the last answers.

        Args:
            seconds: The time; up to three times as much where less than `least` was answered.
            window: Requests on the way.
            least: Answers wanted.

        Raises:
            LoadError: Nothing was answered for long.
        """
        begin, cpu = time.perf_counter(), time.process_time()
        tally, free = Tally(begin), deque(lane for lane in self.lanes if lane.frames)
        on_the_way = 0
        end, check, progress = begin + seconds, begin + _CHECK_S, begin
        while True:
            now = time.perf_counter()
            if now < end or (tally.answered < least and now < begin + _PATIENCE * seconds):
                while free and on_the_way < window:
                    lane = free.popleft()
                    _send(lane, now)
                    on_the_way += 1
            if not on_the_way:
                break
            settled = self._receive(0.05, tally)
            on_the_way -= len(settled)
            free.extend(lane for lane in settled if lane.frames)
            if settled:
                progress = now
            if now > check:
                check = now + _CHECK_S
                self._repeat(now, tally)
                _expect_progress(progress, now)
        tally.seconds = time.perf_counter() - begin
        tally.generator_cpu_s = time.process_time() - cpu
        return tally

    def pace(self, schedule: Iterable[tuple[float, Lane]]) -> Tally:
        """Send each lane's next frame at its second from now, whatever the answers do; note how long each answer took.

        A node that still waits for its answer sends late (`Tally.late`), and its latency counts from the moment it wanted to;
        that this process woke up late is not the server's latency and does not count.

        Raises:
            LoadError: Nothing was answered for long.
        """
        begin, cpu = time.perf_counter(), time.process_time()
        tally, waiting = Tally(begin), deque[tuple[float, Lane]]()
        check, progress, on_the_way = begin + _CHECK_S, begin, 0
        plan = iter(schedule)
        due = next(plan, None)
        while due is not None or on_the_way or waiting:
            now = time.perf_counter()
            for _ in range(len(waiting)):
                wanted_s, lane = waiting.popleft()
                if lane.sent:
                    waiting.append((wanted_s, lane))
                else:
                    _send(lane, wanted_s)
                    on_the_way += 1
            while due is not None and begin + due[0] <= now:
                if due[1].sent:
                    tally.late += 1
                    waiting.append((begin + due[0], due[1]))
                else:
                    _send(due[1], time.perf_counter())
                    on_the_way += 1
                due = next(plan, None)
            pause = 0.05 if due is None else max(0.0, min(0.05, begin + due[0] - time.perf_counter()))
            settled = self._receive(pause, tally, keep_latency=True)
            on_the_way -= len(settled)
            if settled or not on_the_way:
                progress = now
            if now > check:
                check = now + _CHECK_S
                self._repeat(now, tally)
                _expect_progress(progress, now)
        tally.seconds = time.perf_counter() - begin
        tally.generator_cpu_s = time.process_time() - cpu
        return tally

    def _receive(self, pause_s: float, tally: Tally, *, keep_latency: bool = False) -> list[Lane]:
        """Take what has arrived, one frame per lane; give the lanes whose request is settled."""
        settled = []
        for descriptor, _ in self._poll.poll(pause_s, len(self._by_descriptor)):
            lane = self._by_descriptor[descriptor]
            try:
                data = lane.link.recv(_MOST_BYTES)
            except ConnectionRefusedError:
                continue  # the server's port is closed for a moment, or for good: the repetitions will tell
            code = lane.judge(data)
            if code is None:
                continue
            if code == self._wanted:
                tally.answered += 1
            else:
                tally.others[code] += 1
            if keep_latency:
                tally.latencies_s.append(time.perf_counter() - lane.sent_s)
            lane.sent = b""
            settled.append(lane)
        return settled

    def _repeat(self, now: float, tally: Tally) -> None:
        for lane in self.lanes:
            if lane.sent and lane.repeats and now - lane.repeated_s > REPEAT_S:
                lane.link.send(lane.sent)
                lane.repeated_s = now
                tally.repeated += 1


def _send(lane: Lane, wanted_s: float) -> None:
    lane.sent = lane.frames.popleft()
    lane.sent_s = wanted_s
    lane.repeated_s = time.perf_counter()
    lane.link.send(lane.sent)


def _expect_progress(progress: float, now: float) -> None:
    if now - progress > GIVE_UP_S:
        raise LoadError(f"the server has answered nothing for {GIVE_UP_S:g} s")


def even_schedule(lanes: Sequence[Lane], per_s: float, seconds: float) -> list[tuple[float, Lane]]:
    """The lanes in turn, evenly spaced."""
    return [(number / per_s, lanes[number % len(lanes)]) for number in range(int(per_s * seconds))]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
