"""The registry's operations. Every change that a gateway must know bumps its assets version and wakes its streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from andon_cloud.configurations.service import KIND as CONFIGURATION
from andon_cloud.db.base import Base
from andon_cloud.problems import Problem, conflict, not_found
from andon_cloud.registry.models import Gateway, Machine, Node, NodeAudit
from andon_cloud.registry.schemas import (
    GatewayChange,
    GatewayIn,
    GatewayOut,
    GatewayWithToken,
    MachineChange,
    MachineIn,
    MachineOut,
    NodeAuditOut,
    NodeChange,
    NodeIn,
    NodeOut,
)
from andon_cloud.registry.tokens import new_token, token_hash
from andon_cloud.updates.service import KIND as UPDATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.identifiers import Clock

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True, slots=True)
class Registry:
    """Machines, nodes and gateways. Methods raise `Problem` 404 and 409."""

    database: Database
    notifier: Notifier
    clock: Clock

    # --- machines ---------------------------------------------------------------------------------------------------

    async def machines(self) -> list[MachineOut]:
        """All machines by id, each with its nodes."""
        async with self.database.reading() as session:
            nodes: dict[str, list[str]] = {}
            for node in await session.scalars(select(Node).order_by(Node.id)):
                nodes.setdefault(node.machine_id, []).append(node.id)
            machines = await session.scalars(select(Machine).order_by(Machine.id))
            return [_machine_out(machine, nodes.get(machine.id, [])) for machine in machines]

    async def machine(self, machine_id: str) -> MachineOut:
        """One machine with its nodes."""
        async with self.database.reading() as session:
            machine = await _existing(session, Machine, machine_id)
            return _machine_out(machine, await _nodes_of(session, machine_id))

    async def add_machine(self, wanted: MachineIn) -> MachineOut:
        """Register a machine."""
        async with self.database.writing() as session:
            machine = Machine(**wanted.model_dump(), created_ms=self.clock())
            await _insert(session, machine, wanted.id)
            return _machine_out(machine, [])

    async def change_machine(self, machine_id: str, change: MachineChange) -> MachineOut:
        """Change some fields; its gateway hears of a new place in the hierarchy."""
        async with self.database.writing() as session:
            machine = await _existing(session, Machine, machine_id)
            for key, value in change.model_dump(exclude_unset=True).items():
                setattr(machine, key, value)
            gateways = list(await session.scalars(select(Node.gateway_id).where(Node.machine_id == machine_id)))
            await _bump(session, gateways)
            result = _machine_out(machine, await _nodes_of(session, machine_id))
        self.notifier.notify(*gateways)
        return result

    async def remove_machine(self, machine_id: str) -> None:
        """Remove a machine that has no node; its commands and telemetry stay."""
        async with self.database.writing() as session:
            machine = await _existing(session, Machine, machine_id)
            nodes = await _nodes_of(session, machine_id)
            if nodes:
                raise conflict(f"Machine {machine_id} still has node {nodes[0]}; remove or move the node first.")
            await session.delete(machine)

    # --- nodes ------------------------------------------------------------------------------------------------------

    async def nodes(self) -> list[NodeOut]:
        """All nodes by id."""
        async with self.database.reading() as session:
            return [NodeOut.model_validate(node) for node in await session.scalars(select(Node).order_by(Node.id))]

    async def node(self, node_id: str) -> NodeOut:
        """One node."""
        async with self.database.reading() as session:
            return NodeOut.model_validate(await _existing(session, Node, node_id))

    async def add_node(self, wanted: NodeIn, entry: NodeAudit | None = None) -> NodeOut:
        """Register a node on a machine, served by a gateway; `entry` goes into its log with it."""
        async with self.database.writing() as session:
            await _refer(session, wanted.machine_id, wanted.gateway_id)
            await _machine_is_free(session, wanted.machine_id)
            node = Node(**wanted.model_dump(), created_ms=self.clock())
            await _insert(session, node, wanted.id)
            if entry is not None:
                session.add(entry)
            await _bump(session, [wanted.gateway_id])
            result = NodeOut.model_validate(node)
        self.notifier.notify(wanted.gateway_id)
        return result

    async def change_node(self, node_id: str, change: NodeChange) -> NodeOut:
        """Move a node to another machine or gateway; both gateways hear of it."""
        async with self.database.writing() as session:
            node = await _existing(session, Node, node_id)
            gateways = {node.gateway_id, change.gateway_id or node.gateway_id}
            await _refer(session, change.machine_id or node.machine_id, change.gateway_id or node.gateway_id)
            if change.machine_id and change.machine_id != node.machine_id:
                await _machine_is_free(session, change.machine_id)
            for key, value in change.model_dump(exclude_unset=True).items():
                setattr(node, key, value)
            await _bump(session, sorted(gateways))
            result = NodeOut.model_validate(node)
        self.notifier.notify(*gateways)
        return result

    async def node_log(self, node_id: str) -> list[NodeAuditOut]:
        """What people did to a node, oldest first; it outlives the node."""
        async with self.database.reading() as session:
            rows = await session.scalars(
                select(NodeAudit).where(NodeAudit.node_id == node_id).order_by(NodeAudit.number)
            )
            found = [NodeAuditOut.model_validate(row) for row in rows]
            if not found:
                await _existing(session, Node, node_id)
            return found

    async def remove_node(self, node_id: str) -> None:
        """Remove a node; its gateway stops forwarding its readings."""
        async with self.database.writing() as session:
            node = await _existing(session, Node, node_id)
            gateway = node.gateway_id
            for kind in (UPDATE, CONFIGURATION):
                await kind.end_of_node(session, node_id, self.clock())
            await session.delete(node)
            await _bump(session, [gateway])
        self.notifier.notify(gateway)

    # --- gateways ---------------------------------------------------------------------------------------------------

    async def gateways(self) -> list[GatewayOut]:
        """All gateways by id."""
        async with self.database.reading() as session:
            rows = await session.scalars(select(Gateway).order_by(Gateway.id))
            return [GatewayOut.model_validate(row) for row in rows]

    async def gateway(self, gateway_id: str) -> GatewayOut:
        """One gateway."""
        async with self.database.reading() as session:
            return GatewayOut.model_validate(await _existing(session, Gateway, gateway_id))

    async def add_gateway(self, wanted: GatewayIn) -> GatewayWithToken:
        """Register a gateway and make its token."""
        token = new_token()
        async with self.database.writing() as session:
            gateway = Gateway(
                **wanted.model_dump(), token_hash=token_hash(token), assets_version=1, created_ms=self.clock()
            )
            await _insert(session, gateway, wanted.id)
            return _with_token(gateway, token)

    async def change_gateway(self, gateway_id: str, change: GatewayChange) -> GatewayOut:
        """Rename a gateway."""
        async with self.database.writing() as session:
            gateway = await _existing(session, Gateway, gateway_id)
            gateway.name = change.name
            return GatewayOut.model_validate(gateway)

    async def rotate_token(self, gateway_id: str) -> GatewayWithToken:
        """Give a gateway a new token; the old one stops working and its streams end."""
        token = new_token()
        async with self.database.writing() as session:
            gateway = await _existing(session, Gateway, gateway_id)
            gateway.token_hash = token_hash(token)
            result = _with_token(gateway, token)
        self.notifier.notify(gateway_id)
        return result

    async def remove_gateway(self, gateway_id: str) -> None:
        """Remove a gateway that serves no node."""
        async with self.database.writing() as session:
            gateway = await _existing(session, Gateway, gateway_id)
            node = await session.scalar(select(Node.id).where(Node.gateway_id == gateway_id).order_by(Node.id).limit(1))
            if node is not None:
                raise conflict(f"Gateway {gateway_id} still serves node {node}; remove or move its nodes first.")
            await session.delete(gateway)
        self.notifier.notify(gateway_id)

    async def bootstrap(self, tokens: Mapping[str, str]) -> None:
        """Make sure that the gateways of the settings exist with these tokens."""
        for gateway_id, token in tokens.items():
            async with self.database.writing() as session:
                gateway = await session.get(Gateway, gateway_id, with_for_update=True)
                if gateway is None:
                    gateway = Gateway(id=gateway_id, name=gateway_id, assets_version=1, created_ms=self.clock())
                    session.add(gateway)
                gateway.token_hash = token_hash(token)

    async def gateway_of_token(self, token: str) -> str | None:
        """The gateway that owns a token, or None."""
        async with self.database.reading() as session:
            # Found by the hash: what a database comparison's timing tells about a SHA-256 leads nobody to the token.
            owner: str | None = await session.scalar(select(Gateway.id).where(Gateway.token_hash == token_hash(token)))
            return owner


async def _existing(session: AsyncSession, kind: type[Row], identity: str) -> Row:
    row = await session.get(kind, identity)
    if row is None:
        raise not_found(kind.__name__.lower(), identity)
    return row


async def _insert(session: AsyncSession, row: Base, identity: str) -> None:
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        raise conflict(f"There is already a {type(row).__name__.lower()} {identity}.") from error


async def _refer(session: AsyncSession, machine_id: str, gateway_id: str) -> None:
    # 422, not 404: the address of the request is right, a reference in its body is not.
    for kind, identity in ((Machine, machine_id), (Gateway, gateway_id)):
        if await session.get(kind, identity) is None:
            name = kind.__name__.lower()
            raise Problem(422, f"{name}_id: there is no {name} {identity}; register it first.")


async def _machine_is_free(session: AsyncSession, machine_id: str) -> None:
    nodes = await _nodes_of(session, machine_id)
    if nodes:
        raise conflict(f"Machine {machine_id} already has node {nodes[0]}; a machine has one node.")


async def _nodes_of(session: AsyncSession, machine_id: str) -> list[str]:
    return list(await session.scalars(select(Node.id).where(Node.machine_id == machine_id).order_by(Node.id)))


async def _bump(session: AsyncSession, gateways: Sequence[str]) -> None:
    if gateways:
        await session.execute(
            update(Gateway).where(Gateway.id.in_(gateways)).values(assets_version=Gateway.assets_version + 1)
        )


def _machine_out(machine: Machine, nodes: list[str]) -> MachineOut:
    return MachineOut.model_validate(machine).model_copy(update={"nodes": nodes})


def _with_token(gateway: Gateway, token: str) -> GatewayWithToken:
    return GatewayWithToken(**GatewayOut.model_validate(gateway).model_dump(), token=token)
