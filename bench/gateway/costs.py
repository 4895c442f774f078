"""CPU of a server per message: saturated, and at a fixed rate. The same steps for every server."""

from __future__ import annotations

import gc
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.gateway.fleet import ProtectedNode
from bench.gateway.load import Generator, LoadError, Tally, even_schedule
from bench.gateway.memory_probe import MemoryProbe
from bench.gateway.processes import core_busy_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.gateway.fleet import Node
    from bench.gateway.processes import ServerProcess

WARM_UP_S: Final = 1.0
WARM_UP_MESSAGES: Final = 5000
"""At least so many, since a compiler at run time counts calls, not seconds ..."""
WARM_UP_LIMIT_S: Final = 8.0
"""... but no longer than this."""
WARM_UP_FRAMES: Final = 200  # per node and round
PACED_PER_S: Final = 500
PACED_LONGER: Final = 2
"""The paced windows last so many times longer: they see few messages."""
LEAST_MESSAGES: Final = 1000
"""In each window, also where a busy machine leaves the server little time."""
LEAST_FRAMES: Final = 20_000
QUIET_S: Final = 0.25
QUIET_SHARE: Final = 0.05
"""A window begins when the servers' core has been idle for so long, but for this share ..."""
QUIET_LIMIT_S: Final = 15.0
"""... or after this time: then something else runs there, and the window's line says so."""
_ROOM: Final = 1.6  # frames built, as a multiple of what the warm-up's rate would use


@dataclass(frozen=True, slots=True)
class Rig:
    """What every measurement of a run shares.

    Attributes:
        folder: For configurations, logs and spools; on a disk.
        cores: The generator's (with the stand-in cloud), the server's.
        seconds: Saturated load for each server, all rounds together.
        nodes: Node identities and sockets; also the requests on the way.
        say: Prints a remark.
        disturbances: Share of the server's core that others used, for each window so far.
        memory: Looks at how quick the machine's memory is.
        memory_ns: What it found before each window so far.
        running: The servers that run at this moment, loaded or not.
    """

    folder: Path
    cores: tuple[int, int]
    seconds: float
    nodes: int
    say: Callable[[str], None]
    disturbances: list[float] = field(default_factory=list)
    memory: MemoryProbe = field(default_factory=MemoryProbe)
    memory_ns: list[float] = field(default_factory=list)
    running: list[ServerProcess] = field(default_factory=list)


@dataclass(slots=True)
class Subject:
    """A server under load.

    Attributes:
        name: For remarks.
        servers: The processes whose CPU counts.
        nodes: Its nodes.
        finish: Waits until everything that was accepted is done, given the number of messages since the start.
        check: Looks at the end whether the server has seen what the generator has sent; LoadError where not.
        sent: Messages answered since the start.
        rate: Messages a second that it took in its warm-up.
    """

    name: str
    servers: Sequence[ServerProcess]
    nodes: Sequence[Node]
    finish: Callable[[int], None] = lambda _messages: None
    check: Callable[[int], None] = lambda _messages: None
    sent: int = 0
    rate: float = 0.0


def prepare(nodes: Sequence[Node], count: float) -> None:
    """Build frames for about `count` messages, shared evenly; at least one for each node."""
    for node in nodes:
        node.prepare(max(1, int(count / len(nodes))))


def warm_up(rig: Rig, subject: Subject) -> float:
    """Load it for a moment that does not count; notes and gives the rate, messages per second.

    Raises:
        LoadError: It does not answer, or not with 2.04.
    """
    began, answered, tally = time.monotonic(), 0, Tally()
    with closing(Generator([node.lane for node in subject.nodes])) as generator:
        while answered < WARM_UP_MESSAGES and time.monotonic() - began < WARM_UP_LIMIT_S:
            drop_frames(subject.nodes)
            prepare(subject.nodes, WARM_UP_FRAMES * len(subject.nodes))
            tally = generator.saturate(WARM_UP_S, window=rig.nodes)
            _check(subject, tally)
            answered += tally.answered
    drop_frames(subject.nodes)
    subject.finish(subject.sent)  # a backlog would be worked off during another server's window
    subject.rate = tally.answered / tally.seconds
    return subject.rate


def saturated_us(rig: Rig, subject: Subject, seconds: float) -> float:
    """CPU per message, in microseconds, with as many messages as it takes; after `warm_up`.

    Raises:
        LoadError: It does not answer, or not with 2.04.
    """
    waiting = sum(len(node.lane.frames) for node in subject.nodes)
    prepare(subject.nodes, max(LEAST_FRAMES, subject.rate * seconds * _ROOM) - waiting)

    def run(generator: Generator) -> Tally:
        return generator.saturate(seconds, window=rig.nodes, least=LEAST_MESSAGES)

    return _cost_us(rig, subject, "saturated", run)


def paced_us(rig: Rig, subject: Subject, seconds: float) -> float:
    """CPU per message, in microseconds, at 500 messages a second.

    Raises:
        LoadError: It does not answer, or not with 2.04.
    """
    drop_frames(subject.nodes)
    prepare(subject.nodes, PACED_PER_S * seconds + len(subject.nodes))
    schedule = even_schedule([node.lane for node in subject.nodes], PACED_PER_S, seconds)
    cost = _cost_us(rig, subject, f"at {PACED_PER_S}/s", lambda generator: generator.pace(schedule))
    drop_frames(subject.nodes)
    return cost


def drop_frames(nodes: Sequence[Node]) -> None:
    """Forget frames that were not sent."""
    for node in nodes:
        node.lane.frames.clear()


def await_quiet(core: int) -> None:
    """Wait until nothing runs on a core: what a server still has to do after its turn must not disturb the next one."""
    deadline = time.monotonic() + QUIET_LIMIT_S
    while time.monotonic() < deadline:
        before = core_busy_s(core)
        time.sleep(QUIET_S)
        if core_busy_s(core) - before <= QUIET_SHARE * QUIET_S:
            return


def _cost_us(rig: Rig, subject: Subject, load: str, run: Callable[[Generator], Tally]) -> float:
    subject.finish(subject.sent)
    gc.collect()
    await_quiet(rig.cores[1])
    memory_ns = rig.memory.nanoseconds()
    rig.memory_ns.append(memory_ns)
    gc.disable()  # the generator makes no cycles, but hundreds of thousands of frames that would be walked
    try:
        with closing(Generator([node.lane for node in subject.nodes])) as generator:
            core_before, began = core_busy_s(rig.cores[1]), time.monotonic()
            before = sum(server.cpu_s() for server in subject.servers)
            compared = [server for server in rig.running if server not in subject.servers]
            compared_before = sum(server.cpu_s() for server in compared)
            tally = run(generator)
    finally:
        gc.enable()
    _check(subject, tally)
    subject.finish(subject.sent)
    used = sum(server.cpu_s() for server in subject.servers) - before
    seconds = time.monotonic() - began
    others = max(0.0, (core_busy_s(rig.cores[1]) - core_before - used) / seconds)
    idle_ones = (sum(server.cpu_s() for server in compared) - compared_before) / seconds
    rig.disturbances.append(others)
    cost = used / tally.answered * 1e6
    rig.say(
        f"{subject.name}, {load}: {cost:.1f} us/message ({tally.answered} messages, {tally.answered / tally.seconds:.0f}/s, server busy "
        f"{used / tally.seconds:.0%}, others on its core {others:.0%}, "
        f"of it the compared servers {idle_ones:.0%}, generator busy "
        f"{tally.generator_cpu_s / tally.seconds:.0%}, repeated {tally.repeated}, a look-up in memory before {memory_ns:.0f} ns)"
    )
    return cost


def _check(subject: Subject, tally: Tally) -> None:
    subject.sent += tally.answered
    if tally.others or not tally.answered:
        codes = ", ".join(f"{code >> 5}.{code & 31:02d} {number} times" for code, number in tally.others.items())
        raise LoadError(f"{subject.name} answered {codes or 'nothing'}: the figure would mean nothing")
    for node in subject.nodes:
        if isinstance(node, ProtectedNode):
            node.check_answers()
