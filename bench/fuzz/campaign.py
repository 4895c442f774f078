"""A hostile hour for the real gateway: what it survives, what it costs the well-behaved nodes, and what stays in its memory."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench.fuzz.attacker import AttackPlan
from bench.fuzz.senml_packs import NODES as FUZZED_NODES
from bench.gateway.andon import FACTORY, run_with_stand_in
from bench.gateway.fleet import PlainNode, ProtectedNode, close, key_table, names, plain_nodes, protected_nodes
from bench.gateway.load import Generator, LoadError, even_schedule, percentile
from bench.gateway.oscore_nodes import keys
from bench.gateway.processes import ServerError, ServerProcess, core_busy_s

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.gateway.andon import AndonGateway

GOOD: Final = 20
"""Well-behaved nodes: half of them with OSCORE."""
GOOD_PER_S: Final = 100.0
CHUNK_S: Final = 2.0
SLOW: Final = 2.0
"""Times the p99 alone: what an attack may cost well-behaved nodes."""
RATE: Final = 2000.0
MOLE: Final = 999
_UNEXPECTED: Final = re.compile(
    r"Traceback|never retrieved|in callback|failed unexpectedly|level=(?:ERROR|CRITICAL)|Fatal"
)
_EXCEPTION: Final = re.compile(r"^ {4}(\w[\w.]*(?:Error|Exception)\b.*)")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_TEXT_KEPT: Final = 160


@dataclass(frozen=True, slots=True)
class Campaign:
    """How much, how fast.

    Attributes:
        datagrams: Hostile datagrams.
        packs: Fuzzed packs.
        seed: Of all chance.
        per_s: Rate of the attack.
        quiet_s: How long the well-behaved nodes are watched alone, before.
    """

    datagrams: int
    packs: int
    seed: int
    per_s: float = RATE
    quiet_s: float = 20.0


@dataclass(slots=True)
class Outcome:
    """What happened.

    Attributes:
        uncaught: Exceptions that nobody expected, as the gateway's log has them, and how often.
        answers: Codes of the answers to hostile datagrams and to fuzzed packs.
        log_lines: Length of the gateway's log.
        hung: What was never answered; empty: nothing.
        good_lost: Packs of well-behaved nodes that were answered and are not counted.
        good_ms: Answer times of well-behaved nodes, p50 and p99, alone and during the attack.
        good_slower: Attacked by alone.
        slow_windows: Of the windows of 2 s during the attack, how many had a p99 of more than twice that alone, and how many there were: a
            gateway that is too slow is so all the time, a disturbed machine for a while.
        slow_commits: Of the group commits, how many waited for the disk for more than 50 ms, and how many there were, alone and during the attack:
            what the gateway's own clock says of them (`andon_gateway_commit_seconds`).
        rss_kb: Resident memory: before, at most, and after the attack.
    """

    seconds: float = 0.0
    uncaught: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    hung: str = ""
    log_lines: int = 0
    good_answered: int = 0
    good_lost: int = 0
    good_ms: dict[str, float] = field(default_factory=dict)
    good_slower: dict[str, float] = field(default_factory=dict)
    slow_windows: tuple[int, int] = (0, 0)
    slow_commits: dict[str, tuple[int, int]] = field(default_factory=dict)
    rss_kb: dict[str, int] = field(default_factory=dict)
    cpu_share: float = 0.0


class _WellBehaved:
    """Nodes that send 100 packs a second together, protected and plain in turn."""

    def __init__(self, gateway: AndonGateway) -> None:
        half = GOOD // 2
        self._protected = protected_nodes(half, gateway.coap)
        self._nodes: list[PlainNode | ProtectedNode] = [*self._protected, *plain_nodes(GOOD - half, gateway.coap, half)]
        self.answered = half  # each has proved its freshness with a pack

    def send(self, seconds: float) -> list[float]:
        """Answer times in seconds.

        Raises:
            LoadError: A pack was refused, or nothing is answered any more.
        """
        for node in self._nodes:
            node.prepare(int(GOOD_PER_S * seconds / len(self._nodes)) + 1)
        lanes = [node.lane for node in self._nodes]
        with closing(Generator(lanes)) as generator:
            tally = generator.pace(even_schedule(lanes, GOOD_PER_S, seconds))
        for node in self._nodes:
            node.lane.frames.clear()
        for protected in self._protected:
            protected.check_answers()
        if tally.others:
            raise LoadError(f"the gateway refused good packs: {dict(tally.others)}")
        self.answered += tally.answered
        return tally.latencies_s

    def close(self) -> None:
        """Close the sockets."""
        close(self._nodes)


def run(campaign: Campaign, folder: Path, cores: tuple[int, int], say: Callable[[str], None]) -> Outcome:
    """Start the gateway, attack it beside well-behaved nodes, and look at what is left.

    Args:
        campaign: What to do.
        folder: For configuration, logs and the spool.
        cores: The attacker's and the nodes'; the gateway's.
        say: Prints a remark.

    Raises:
        ServerError: Something did not start.
    """
    outcome, began = Outcome(), time.monotonic()
    mounted = [*names(GOOD), "mole", *(f"fuzz-{number}" for number in range(FUZZED_NODES))]
    table = {**key_table(GOOD // 2), "mole": keys(MOLE)}
    with run_with_stand_in(folder, cores, mounted, table, toml=FACTORY) as gateway:
        good = _WellBehaved(gateway)
        try:
            good.send(campaign.quiet_s / 4)  # a warm-up
            commits = [_commits(gateway)]
            quiet = good.send(campaign.quiet_s)
            commits.append(_commits(gateway))
            outcome.rss_kb["before"] = gateway.process.rss_kb()
            say(
                f"{len(quiet)} good packs alone, p50 {_ms(quiet, 0.5)} ms, p99 {_ms(quiet, 0.99)} ms; the attack begins"
            )
            windows = _attack(campaign, folder, gateway, good, outcome, cores, say)
            commits.append(_commits(gateway))
            outcome.slow_commits = {
                when: (after[0] - before[0], after[1] - before[1])
                for when, before, after in zip(("alone", "attacked"), commits[:2], commits[1:], strict=True)
            }
            attacked = [seconds for window in windows for seconds in window]
            outcome.good_ms = {
                "p50_alone": _ms(quiet, 0.5), "p99_alone": _ms(quiet, 0.99),
                "p50_attacked": _ms(attacked, 0.5), "p99_attacked": _ms(attacked, 0.99),
            }  # fmt: skip
            outcome.good_slower = {
                share: round(outcome.good_ms[f"{share}_attacked"] / outcome.good_ms[f"{share}_alone"], 2)
                for share in ("p50", "p99")
            }
            limit = outcome.good_ms["p99_alone"] * SLOW
            outcome.slow_windows = (sum(_ms(window, 0.99) > limit for window in windows), len(windows))
            good.send(1.0)
            _count_good(gateway, good, outcome)
        except (LoadError, ServerError, OSError) as error:
            outcome.hung = outcome.hung or str(error) or repr(error)
        good.close()
        outcome.rss_kb["after"] = gateway.process.rss_kb()
        if not gateway.process.alive:
            outcome.hung = "the gateway ended"
        outcome.uncaught = uncaught(gateway.log)
        outcome.log_lines = sum(1 for _ in gateway.log.open("rb"))
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def uncaught(log: Path) -> dict[str, int]:
    """Exceptions in a gateway's log that nobody expected, numbers left out, and how often; a suspicious line that names none stands for itself."""
    found: Counter[str] = Counter()
    open_case = ""
    for line in log.read_text(errors="replace").splitlines():
        exception = _EXCEPTION.match(line)
        if exception and open_case:
            found[_NUMBER.sub("N", exception[1])[:_TEXT_KEPT]] += 1
            open_case = ""
        elif _UNEXPECTED.search(line) and not line.startswith(" "):
            if open_case:
                found[open_case] += 1
            open_case = line.partition(" ")[2][:_TEXT_KEPT]
    if open_case:
        found[open_case] += 1
    return dict(found)


def _ms(values: list[float], share: float) -> float:
    return round(percentile(values, share) * 1000, 3)


def _commits(gateway: AndonGateway) -> tuple[int, int]:
    """Group commits since the start: those of more than 50 ms, and all."""
    metrics = gateway.metrics()
    every = int(metrics["commit_seconds_count"])
    return every - int(metrics['commit_seconds_bucket{le="0.05"}']), every


def _attack(
    campaign: Campaign,
    folder: Path,
    gateway: AndonGateway,
    good: _WellBehaved,
    outcome: Outcome,
    cores: tuple[int, int],
    say: Callable[[str], None],
) -> list[list[float]]:
    """Run the attacker until it has ended; gives the answer times of the well-behaved nodes meanwhile, window by window."""
    plan = AttackPlan(gateway.coap[1], campaign.seed, campaign.datagrams, campaign.packs, campaign.per_s, keys(MOLE))
    path = folder / "attack.json"
    path.write_text(json.dumps(asdict(plan)))
    command = [sys.executable, "-m", "bench.fuzz.attacker", str(path)]
    windows: list[list[float]] = []
    with ServerProcess("attacker", command, cores[0], folder / "attacker.log") as attacker:
        attacker.ready()
        cpu, began = gateway.process.cpu_s(), time.monotonic()
        while attacker.alive:
            windows.append(_window(gateway, good, cores, began, say))
            outcome.rss_kb["most"] = max(outcome.rss_kb.get("most", 0), gateway.process.rss_kb())
        outcome.cpu_share = round((gateway.process.cpu_s() - cpu) / (time.monotonic() - began), 3)
        for _ in range(2):
            outcome.answers |= json.loads(attacker.line())
    outcome.hung = str(outcome.answers.pop("hung", ""))
    return windows


def _window(
    gateway: AndonGateway, good: _WellBehaved, cores: tuple[int, int], began: float, say: Callable[[str], None]
) -> list[float]:
    """One window of the well-behaved nodes; prints it with what the two cores did, so that a slow one can be explained."""
    before = (gateway.process.cpu_s(), core_busy_s(cores[0]), core_busy_s(cores[1]), time.monotonic())
    answered = good.send(CHUNK_S)
    after = (gateway.process.cpu_s(), core_busy_s(cores[0]), core_busy_s(cores[1]), time.monotonic())
    own, near, far = ((then - now) / (after[3] - before[3]) for now, then in zip(before[:3], after[:3], strict=True))
    say(
        f"{before[3] - began:.0f} s: p50 {_ms(answered, 0.5)} ms, p99 {_ms(answered, 0.99)} ms, worst {_ms(answered, 1.0)} ms; gateway {own:.0%} "
        f"of its core, others there {max(0.0, far - own):.0%}, the attacker's core {near:.0%}"
    )
    return answered


def _count_good(gateway: AndonGateway, good: _WellBehaved, outcome: Outcome) -> None:
    """Every answered pack of a well-behaved node has to be among those that the gateway counts for it."""
    metrics = gateway.metrics()
    counted = sum(metrics.get(f'node_packs_total{{node="{node}"}}', 0.0) for node in names(GOOD))
    outcome.good_answered = good.answered
    outcome.good_lost = good.answered - int(counted)
