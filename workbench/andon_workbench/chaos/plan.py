"""What a chaos run does: its nodes, the kills and the cuts under the seed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final, Literal

from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan, Place, places

if TYPE_CHECKING:
    from collections.abc import Iterator

BOARDS: Final = 25
# Every fifth lean node has no clock.
CLOCKLESS_EVERY: Final = 5
DELAY_S: Final = 0.02
REORDER: Final = 0.05


class Moment(StrEnum):
    """When the gateway is killed."""

    STARTING = "starting"
    """Before it is ready: imports, opening the disk, binding ports."""
    RECOVERY = "recovery"
    """In the first instants after: nodes prove that they are fresh, the spool is read."""
    COMMIT = "commit"
    """While it writes to its spool."""
    POST_UNSENT = "post-unsent"
    """When it has begun a write to the cloud, of which nothing arrives."""
    POST_TORN = "post-torn"
    """When the head of a write has arrived, but not its body."""
    POST_UNANSWERED = "post-unanswered"
    """When the cloud has stored a write and its answer has not arrived."""
    ANSWER = "answer"
    """In the instant in which it has answered a node."""
    ANY = "any"
    """At any other time."""


# Ten kills, in a drawn order, then the next ten: where two parties must agree on what happened, it is more interesting.
_DECK: Final = (
    Moment.STARTING,
    Moment.RECOVERY,
    Moment.COMMIT,
    Moment.COMMIT,
    Moment.POST_UNSENT,
    Moment.POST_TORN,
    Moment.POST_UNANSWERED,
    Moment.ANSWER,
    Moment.ANSWER,
    Moment.ANY,
)
_RECOVERY_S: Final = 0.5
_ANY_S: Final = 6.0
_ARMED_AFTER_S: Final = 4.0


class Cut(StrEnum):
    """How the database is cut off."""

    REFUSED = "refused"
    """Connections are reset."""
    SILENT = "silent"
    """Nothing passes and nobody says so."""
    DEAD = "dead"
    """The process that holds it is killed with -9 and started again; a real influxd is frozen (SIGSTOP)."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9.

    Attributes:
        moment: What it waits for.
        after: STARTING: part of the usual time to readiness; otherwise seconds after readiness from which on it may happen
            (more where a start takes longer than a second).
        late_s: How long after the moment was seen, to hit all parts of it.
    """

    moment: Moment
    after: float
    late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What the person asked for. `loss` is the share of datagrams lost, and that of those doubled, in each direction."""

    kills: int = 200
    nodes: int = 50
    boards: int = BOARDS
    loss: float = 0.1
    seed: int = 1
    store: Literal["embedded", "influxdb"] = "embedded"
    oscore: bool = True
    workers: int = 1

    @property
    def longest_cut_s(self) -> float:
        """Short runs have short cuts, so that they have several."""
        return 20.0 if self.kills > 50 else 6.0  # noqa: PLR2004  minutes rather than seconds

    def factory_plan(self) -> FactoryPlan:
        """The factory: its boards are the first of the nodes."""
        return FactoryPlan(
            nodes=min(self.boards, self.nodes),
            seed=self.seed,
            store=self.store,
            impairment=Impairment(loss=self.loss, duplicate=self.loss, delay_s=DELAY_S, reorder=REORDER),
            keys=self.oscore,
            workers=self.workers,
            gates=True,
        )

    @property
    def lean_places(self) -> list[Place]:
        """The nodes that are no boards, each with its machine."""
        return places(self.nodes)[self.boards :]


def draw_kills(options: ChaosOptions) -> list[Kill]:
    """All kills in order; the same seed, the same kills."""
    rng = Random(f"{options.seed}/chaos/kills")  # noqa: S311  repeatable faults, not secrets
    decks = -(-options.kills // len(_DECK))
    moments = [moment for _ in range(decks) for moment in rng.sample(_DECK, len(_DECK))]
    return [_kill(moment, rng) for moment in moments[: options.kills]]


def draw_cuts(options: ChaosOptions) -> Iterator[tuple[Cut, float]]:
    """For ever: how the database is cut off next, and for how many seconds; every way in turn, in a drawn order."""
    rng = Random(f"{options.seed}/chaos/cuts")  # noqa: S311  repeatable faults, not secrets
    while True:
        for cut in rng.sample(list(Cut), len(Cut)):
            yield cut, rng.uniform(options.longest_cut_s / 4, options.longest_cut_s)


def _kill(moment: Moment, rng: Random) -> Kill:
    match moment:
        case Moment.STARTING:
            return Kill(moment, rng.uniform(0.05, 1.0))
        case Moment.RECOVERY:
            return Kill(moment, rng.uniform(0.0, _RECOVERY_S))
        case Moment.ANY:
            return Kill(moment, rng.uniform(0.0, _ANY_S))
        case Moment.COMMIT:
            return Kill(moment, rng.uniform(0.0, _ARMED_AFTER_S), rng.choice((0.0, rng.uniform(0.0, 0.005))))
        case _:
            return Kill(moment, rng.uniform(0.0, _ARMED_AFTER_S))
