"""What the console's pages ask of the rest of the cloud, and nothing else.

Pages depend on `ConsoleFeed` only; `live_feed.py` answers it from the telemetry store, the registry and the commands.
Times are milliseconds since the epoch, UTC; temperatures degC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from andon_cloud.commands.lifecycle import FINAL, CommandStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_cloud.configurations.lifecycle import ConfigurationStatus
    from andon_cloud.console.rates import Point
    from andon_cloud.console.state import Condition


class FeedError(Exception):
    """Base of what a feed can fail with; the message is shown to the person at the console."""


class FeedUnavailableError(FeedError):
    """The data cannot be had now; the console keeps the last values and tries again."""


class UnknownMachineError(FeedError):
    """No machine of that id is registered."""


class CommandRefusedError(FeedError):
    """The relay command was not taken; nothing will be switched."""


class ConfigurationRefusedError(FeedError):
    """The configuration was not taken; the node hears nothing of it."""


class AdoptionRefusedError(FeedError):
    """The node was not adopted."""


@dataclass(frozen=True, slots=True)
class CommandView:
    """One relay command and the time at which it reached each state (its audit trail)."""

    id: str
    relay: int
    state: bool
    status: CommandStatus
    lease_s: int
    reason: str
    actor: str
    created_ms: int
    times: Mapping[CommandStatus, int] = field(default_factory=dict)
    detail: str = ""

    @property
    def final(self) -> bool:
        """Whether the command will not change any more."""
        return self.status in FINAL


@dataclass(frozen=True, slots=True)
class RelayView:
    """One relay of a machine: what its contact says, and what was last asked of it."""

    channel: int
    closed: bool | None
    command: CommandView | None = None

    @property
    def pending(self) -> bool:
        """Whether a command is still on its way."""
        return self.command is not None and not self.command.final


@dataclass(frozen=True, slots=True)
class NodeView:
    """The node of a machine: what it said it runs (None: it did not say), and when its gateway last heard it."""

    id: str
    firmware: str | None = None
    revision: int | None = None
    seen_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """One configuration that was ordered for a node over the network, and what became of it."""

    node: str
    revision: int
    signed: bool
    status: ConfigurationStatus
    reason: str
    actor: str
    times: Mapping[ConfigurationStatus, int] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MachineView:
    """One machine as its tile shows it."""

    id: str
    name: str
    kind: str
    site: str
    area: str
    line: str
    condition: Condition
    temperature_c: float | None = None
    temperature_trend: tuple[Point, ...] = ()
    cycles_total: int | None = None
    cycles_per_min: float | None = None
    relays: tuple[RelayView, ...] = ()
    last_seen_ms: int | None = None
    nodes: tuple[NodeView, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitingNode:
    """A node that nobody has registered; `sent` holds the newest value under each name."""

    gateway: str
    node: str
    address: str
    last_ms: int
    packs: int
    sent: tuple[tuple[str, float | bool | str], ...] = ()


@dataclass(frozen=True, slots=True)
class UnknownKeysView:
    """Somebody whose keys his gateway does not have.

    `node` was last known at the address; `owner` is the node that has these keys, at `owner_gateway`.
    """

    gateway: str
    kid: str
    address: str
    last_ms: int
    messages: int
    node: str | None = None
    owner: str | None = None
    owner_gateway: str | None = None


@dataclass(frozen=True, slots=True)
class FreeMachine:
    """A machine without a node."""

    id: str
    name: str
    place: str


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Who cannot report, and where a node could go."""

    nodes: tuple[WaitingNode, ...] = ()
    keys: tuple[UnknownKeysView, ...] = ()
    free_machines: tuple[FreeMachine, ...] = ()

    @property
    def count(self) -> int:
        """How many wait for a person."""
        return len(self.nodes) + len(self.keys)


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One gateway and whether its command stream is open."""

    id: str
    connected: bool


@dataclass(frozen=True, slots=True)
class FactoryView:
    """The whole factory at one moment."""

    taken_ms: int
    machines: tuple[MachineView, ...] = ()
    gateways: tuple[GatewayView, ...] = ()
    readings_per_s: float | None = None
    waiting: WaitingView = field(default_factory=WaitingView)


@dataclass(frozen=True, slots=True)
class MachineDetail:
    """The longer story of one machine: history, commands and configurations, newest first."""

    machine: MachineView
    span_s: int
    temperature: tuple[Point, ...] = ()
    cycles: tuple[Point, ...] = ()
    cycles_window_s: int = 60
    commands: tuple[CommandView, ...] = ()
    configurations: tuple[ConfigurationView, ...] = ()


class ConsoleFeed(Protocol):
    """Source of everything the console shows. Every method may raise `FeedUnavailableError`."""

    async def factory(self) -> FactoryView:
        """All machines as they are now. Called once a second for all viewers together."""

    async def machine(self, machine_id: str, span_s: int) -> MachineDetail:
        """One machine with its last `span_s` seconds.

        Raises:
            UnknownMachineError: no such machine.
        """

    async def switch_relay(
        self, machine_id: str, relay: int, *, state: bool, lease_s: int, reason: str, actor: str
    ) -> CommandView:
        """Issue a relay command; returns as soon as it is durably queued.

        Args:
            machine_id: The machine.
            relay: Channel of the relay.
            state: True closes the contact, False opens it.
            lease_s: Seconds after which the node puts the relay back into its safe state, 1 to 86,400.
            reason: Why, in the person's words; kept in the audit log.
            actor: Who; kept in the audit log.

        Raises:
            UnknownMachineError: no such machine.
            CommandRefusedError: not a command that can be carried out.
        """

    async def adopt(self, gateway: str, node: str, machine_id: str, *, reason: str, actor: str) -> None:
        """Mount a waiting node on a machine.

        Args:
            gateway: Where it waits.
            node: The node.
            machine_id: The machine.
            reason: Why, in the person's words; kept in the node's log.
            actor: Who; kept in the node's log.

        Raises:
            AdoptionRefusedError: it waits no more, or the machine has a node.
        """

    async def configure(
        self, node: str, document: bytes, signature: str | None, *, reason: str, actor: str
    ) -> ConfigurationView:
        """Order a configuration for a node; returns as soon as it is durably kept.

        Args:
            node: The node.
            document: The whole configuration, JSON, byte by byte as it was signed.
            signature: The site's, 128 hexadecimal digits, or None.
            reason: Why, in the person's words; kept in the audit log.
            actor: Who; kept in the audit log.

        Raises:
            ConfigurationRefusedError: No node could take it, or another one is open.
        """
