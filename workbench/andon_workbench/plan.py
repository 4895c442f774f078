"""What a factory consists of: which machines, nodes, ports and faults. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from andon_workbench.board import Vm
from andon_workbench.ports import LOOPBACK
from andon_workbench.world.kinds import KINDS, MachineKind
from andon_workbench.world.runner import STEP_S
from andon_workbench.world.sensor_faults import FaultRates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from andon_workbench.faults.serial_cable import CableFaults
    from andon_workbench.faults.udp_proxy import Impairment

GATEWAY = "gateway-1"
SITE, AREA = "demo", "hall-1"
MAX_NODES = 200
SAMPLE_MS = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """One machine with its node; both have the same id, a DNS label such as `press-1`."""

    name: str
    kind: MachineKind
    line: str
    number: int

    def machine_document(self) -> dict[str, object]:
        """The machine as the cloud's registry takes it."""
        return {
            "id": self.name,
            "name": f"{self.kind.label} {self.number // len(KINDS) + 1}",
            "kind": self.kind.name,
            "site": SITE,
            "area": AREA,
            "line": self.line,
            "ideal_cycle_s": self.kind.cycle.median_s,
        }


@dataclass(frozen=True, slots=True)
class FactoryPlan:
    """Everything that decides what a factory is. Ports of 0 are free ones; `sample_ms` is the nodes' sampling period.

    The first `wired` nodes reach the gateway over a serial cable instead of Wi-Fi. `node_settings` go into every
    node's configuration, `world_step_s` is the world's step, `patience` by how much slower than usual processes may be before
    they count as broken. Without `keys` the nodes speak openly and the gateway allows it. With `gates` there is a TCP proxy
    between gateway and cloud, and between cloud and InfluxDB. `site_key` is the public key that cloud and nodes check bundles with, 64 hexadecimal digits.
    `vm` runs the boards. `coap_bind` is the address that the gateway listens on for nodes outside this machine, `serial_ports` are ports of nodes on a wire that are not the
    factory's, `workers` how many of its processes receive telemetry.
    """

    nodes: int = 6
    seed: int = 1
    store: Literal["embedded", "influxdb"] = "embedded"
    http_port: int = 0
    coap_port: int = 0
    influxdb_port: int = 0
    impairment: Impairment | None = None
    sensor_faults: FaultRates | None = field(default_factory=FaultRates)
    sample_ms: int = SAMPLE_MS
    wired: int = 0
    cable_faults: CableFaults | None = None
    node_settings: Mapping[str, Any] = field(default_factory=dict)
    world_step_s: float = STEP_S
    patience: float = 1.0
    keys: bool = True
    gates: bool = False
    site_key: str | None = None
    coap_bind: str = LOOPBACK
    serial_ports: tuple[Path, ...] = ()
    workers: int = 1
    vm: Vm = Vm.BITS_64

    @property
    def places(self) -> list[Place]:
        """The machines, kind after kind."""
        return places(self.nodes)


def places(nodes: int) -> list[Place]:
    """`nodes` machines: the six kinds in turn, one production line per turn."""
    return [
        Place(
            f"{(kind := KINDS[number % len(KINDS)]).name}-{number // len(KINDS) + 1}",
            kind,
            f"line-{number // len(KINDS) + 1}",
            number,
        )
        for number in range(nodes)
    ]
