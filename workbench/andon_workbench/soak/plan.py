"""What a soak does: its factory, and the faults under the seed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING

from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.plan import FactoryPlan, Place, places
from andon_workbench.world.sensor_faults import FaultRates

if TYPE_CHECKING:
    from andon_workbench.world.kinds import MachineKind

HOUR_S = 3600.0
DAY_H = 24.0
SPEED = 60
SAMPLE_S = 60
# The kinds of machines have cycles shortened for a demo of seconds; a day of those would be mostly pulses.
_SLOWER = 20.0
# Of the world, at 60 times and in proportion. Every output stays for longer, so that each change is seen.
_STEP_S = 0.2
_LONGEST_STEP_S = 0.5
# Mean times between disturbances of a sensor, in sampling periods.
_FLIPS_EVERY = 20.0
_BROWN_OUTS_EVERY = 5.0
LINK = Impairment(loss=0.2, duplicate=0.05, delay_s=0.02, reorder=0.05)

# Faults per day; nothing happens in the first and last part of the time, so that every fault has a before and an after.
_CUTS_PER_NODE = 3.0
_GATEWAY_OUTAGES = 8.0
_CLOUD_OUTAGES = 4.0
_QUIET_START = 0.05
_QUIET_END = 0.1
_DARK_S = (5.0, 300.0)
_OUTAGE_S = (30.0, 1200.0)
# Times that are short in a day must be short in a quarter of an hour, too.
_LONGEST_SHARE = 0.1


class Victim(StrEnum):
    """What a fault hits."""

    NODE = "node"
    GATEWAY = "gateway"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class Fault:
    """kill -9 of a victim `at_s` seconds after the beginning; it stays dead for `lasts_s` at least."""

    at_s: float
    victim: Victim
    lasts_s: float
    node: str = ""


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What the person asked for. `speed`: simulated seconds per second; `sample_s`: the nodes' sampling period."""

    nodes: int = 20
    hours: float = 24.0
    seed: int = 1
    speed: int = SPEED
    sample_s: int = SAMPLE_S

    @property
    def seconds(self) -> float:
        """The simulated time."""
        return self.hours * HOUR_S


@dataclass(frozen=True, slots=True)
class SoakPlan(FactoryPlan):
    """A factory with the machines of the demo at a machine's usual pace."""

    @property
    def places(self) -> list[Place]:
        """The machines, kind after kind."""
        return [replace(place, kind=_slower(place)) for place in places(self.nodes)]


def factory_plan(options: SoakOptions, hold_s: int) -> SoakPlan:
    """The factory of a soak; `hold_s`: silence of the gateway after which the nodes' outputs go to their safe state."""
    return SoakPlan(
        nodes=options.nodes,
        seed=options.seed,
        impairment=LINK,
        sensor_faults=FaultRates(_FLIPS_EVERY * options.sample_s, _BROWN_OUTS_EVERY * options.sample_s),
        sample_ms=options.sample_s * 1000,
        node_settings={"hold_s": hold_s},
        world_step_s=min(_LONGEST_STEP_S, _STEP_S * options.speed / SPEED),
        patience=float(options.speed),
    )


def draw_faults(options: SoakOptions, nodes: list[str]) -> list[Fault]:
    """All faults in order of time; the same seed, the same faults. At least two power cuts and one outage of each server."""
    rng = Random(f"{options.seed}/soak")  # noqa: S311  repeatable faults, not secrets
    days = options.hours / DAY_H
    longest_s = options.seconds * _LONGEST_SHARE
    kinds = (
        (Victim.NODE, max(2, round(_CUTS_PER_NODE * days * len(nodes))), _DARK_S),
        (Victim.GATEWAY, max(1, round(_GATEWAY_OUTAGES * days)), _OUTAGE_S),
        (Victim.CLOUD, max(1, round(_CLOUD_OUTAGES * days)), _OUTAGE_S),
    )
    faults = [
        Fault(
            at_s=rng.uniform(_QUIET_START, 1 - _QUIET_END) * options.seconds,
            victim=victim,
            lasts_s=min(rng.uniform(*length), longest_s),
            node=rng.choice(nodes) if victim is Victim.NODE else "",
        )
        for victim, count, length in kinds
        for _ in range(count)
    ]
    return sorted(faults, key=lambda fault: fault.at_s)


def _slower(place: Place) -> MachineKind:
    kind = place.kind
    cycle = replace(kind.cycle, median_s=kind.cycle.median_s * _SLOWER, shortest_s=kind.cycle.shortest_s * _SLOWER)
    stops = replace(kind.stops, mean_between_s=kind.stops.mean_between_s * _SLOWER)
    return replace(kind, cycle=cycle, stops=stops)
