"""What only shows after many messages or with many nodes: the gateway's memory, and 10,000 nodes on one core."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from andon_gateway.coap.recent import MOST_REMEMBERED
from bench.gateway import andon, fleet
from bench.gateway.costs import drop_frames, prepare
from bench.gateway.load import CREATED, Generator, LoadError, percentile
from bench.gateway.packs import registration

if TYPE_CHECKING:
    from bench.gateway.costs import Rig
    from bench.gateway.fleet import PlainNode
    from bench.gateway.load import Lane, Tally

ROUND: Final = 10_000
"""Messages between two looks at the memory."""
WARM_UP_SHARE: Final = 0.25
"""Caches fill and the allocator's arenas settle in this first part; the slope is of the rest."""
WARM_UP_MESSAGES: Final = 2 * MOST_REMEMBERED
"""The first part has as many at least: until then the table of recent message ids (coap/recent.py) grows."""
WARM_UP_SHARE_MOST: Final = 0.75
"""But no larger a part than this, where MESSAGES is small; the slope then says little."""
LEAST_ROUNDS: Final = 4
"""After the first part."""
MANY: Final = 10_000
PERIOD_S: Final = 10.0
WATCHED_S: Final = 32.0
REGISTER_WINDOW: Final = 64


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of y over x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def memory_growth(rig: Rig, messages: int, limit_s: float) -> dict[str, float]:
    """Growth of the gateway's resident memory, in kB per million messages, with the uplink at work.

    Args:
        rig: The run.
        messages: As many, unless the time is over before.
        limit_s: The time; longer where the warm-up and a few rounds need it.

    Raises:
        LoadError: The gateway does not answer, or too few messages fit into the time.
    """
    folder = rig.folder / "andon-memory"
    samples: list[tuple[float, float]] = []
    with andon.run_with_stand_in(folder, rig.cores, fleet.names(rig.nodes)) as gateway:
        nodes = fleet.plain_nodes(rig.nodes, gateway.coap)
        sent, end = 0, time.monotonic() + limit_s
        with closing(Generator([node.lane for node in nodes])) as generator:
            while sent < messages and (time.monotonic() < end or sent < WARM_UP_MESSAGES + LEAST_ROUNDS * ROUND):
                prepare(nodes, min(ROUND, messages - sent))
                tally = generator.saturate(limit_s + 60, window=rig.nodes)
                if tally.others:
                    raise LoadError(f"the gateway refused packs: {dict(tally.others)}")
                sent += tally.answered
                samples.append((sent, gateway.process.rss_kb()))
        fleet.close(nodes)
    warm_up = max(sent * WARM_UP_SHARE, min(WARM_UP_MESSAGES, sent * WARM_UP_SHARE_MOST))
    settled = [sample for sample in samples if sample[0] >= warm_up]
    if len(settled) < 2:  # noqa: PLR2004  # points make a line
        raise LoadError(f"{sent} messages are too few for a slope: {4 * ROUND} at least")
    growth = slope(settled) * 1e6
    rig.say(
        f"memory: {samples[0][1]:.0f} kB after {samples[0][0]:.0f} messages, {settled[0][1]:.0f} kB after {settled[0][0]:.0f}, "
        f"{samples[-1][1]:.0f} kB after {sent}; slope of the last {sent - settled[0][0]:.0f} messages, "
        f"extrapolated to a million: {growth:.0f} kB"
    )
    return {"growth": growth, "messages": sent}


def many_nodes(rig: Rig, count: int = MANY) -> dict[str, float]:
    """10,000 registered nodes, each with its own address and one message per 10 s at a time of its own: answer time and CPU share.

    Raises:
        LoadError: The gateway does not answer, or this process may not have as many sockets.
    """
    if not fleet.room_for_sockets(count):
        raise LoadError(f"this process may not open {count} sockets; raise the limit with ulimit -n")
    folder = rig.folder / "andon-many"
    with andon.run_with_stand_in(folder, rig.cores, fleet.names(count)) as gateway:
        nodes = fleet.plain_nodes(count, gateway.coap)
        _register(rig, nodes)
        gateway.wait_for("nodes_unknown", 0)
        schedule = _schedule(nodes, PERIOD_S, WATCHED_S)
        _keep_pace(gateway, schedule[: int(2 * count / PERIOD_S)])  # two seconds of warm-up: each lane's first frames
        before = gateway.process.cpu_s()
        tally = _keep_pace(gateway, schedule)
        used = gateway.process.cpu_s() - before
        fleet.close(nodes)
    if tally.others:
        raise LoadError(f"the gateway refused packs: {dict(tally.others)}")
    p99_ms = percentile(tally.latencies_s, 0.99) * 1000
    share = used / tally.seconds
    rig.say(
        f"{count} nodes: {tally.answered} messages in {tally.seconds:.1f} s, answered after {percentile(tally.latencies_s, 0.5) * 1000:.1f} ms "
        f"(p50), {p99_ms:.1f} ms (p99), {max(tally.latencies_s) * 1000:.0f} ms (worst), {share:.1%} of a core, repeated {tally.repeated}"
    )
    return {"p99_ms": p99_ms, "cpu_share": share}


def _register(rig: Rig, nodes: list[PlainNode]) -> None:
    began = time.monotonic()
    for node in nodes:
        node.lane.frames.append(registration(node.number, node.source.node))
        node.number += 1
    with closing(Generator([node.lane for node in nodes], wanted=CREATED)) as generator:
        tally = generator.saturate(120, window=REGISTER_WINDOW)
    if tally.answered < len(nodes):
        raise LoadError(f"only {tally.answered} of {len(nodes)} nodes could register: {dict(tally.others)}")
    rig.say(f"{len(nodes)} nodes registered in {time.monotonic() - began:.1f} s")


def _schedule(nodes: list[PlainNode], period_s: float, seconds: float) -> list[tuple[float, PlainNode]]:
    """Each node sends every `period_s`, beginning anywhere in the first."""
    phases = random.Random(1)  # noqa: S311  # the same run each time, no cryptography
    begins = sorted((phases.uniform(0, period_s), number) for number in range(len(nodes)))
    rounds = range(int(seconds // period_s) + 1)
    plan = [(begin + period_s * turn, nodes[number]) for turn in rounds for begin, number in begins]
    return [(due_s, node) for due_s, node in plan if due_s < seconds]


def _keep_pace(gateway: andon.AndonGateway, schedule: list[tuple[float, PlainNode]]) -> Tally:
    nodes = list({id(node): node for _, node in schedule}.values())
    drop_frames(nodes)
    lanes: list[tuple[float, Lane]] = []
    for due_s, node in schedule:
        node.prepare(1)
        lanes.append((due_s, node.lane))
    with closing(Generator([node.lane for node in nodes])) as generator:
        tally = generator.pace(lanes)
    if not gateway.process.alive:
        raise LoadError("the gateway ended")
    return tally
