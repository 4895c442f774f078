"""REST of the registry under /api/v1."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from andon_cloud.auth import require_person
from andon_cloud.identifiers import DnsLabel
from andon_cloud.problems import responses
from andon_cloud.registry.credentials import NewCredentials, renew_credentials
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
from andon_cloud.services import Wired

router = APIRouter(prefix="/api/v1", dependencies=[Depends(require_person)], responses=responses(401, 422))

MachineId = Annotated[DnsLabel, Path(examples=["press-7"])]
NodeId = Annotated[DnsLabel, Path(examples=["press-7"])]
GatewayId = Annotated[DnsLabel, Path(examples=["gw-1"])]


@router.get("/machines", tags=["machines"])
async def list_machines(services: Wired) -> list[MachineOut]:
    """All machines by id."""
    return await services.registry.machines()


@router.post("/machines", tags=["machines"], status_code=201, responses=responses(409))
async def add_machine(wanted: MachineIn, services: Wired) -> MachineOut:
    """Register a machine."""
    return await services.registry.add_machine(wanted)


@router.get("/machines/{machine}", tags=["machines"], responses=responses(404))
async def get_machine(machine: MachineId, services: Wired) -> MachineOut:
    """One machine."""
    return await services.registry.machine(machine)


@router.patch("/machines/{machine}", tags=["machines"], responses=responses(404))
async def change_machine(machine: MachineId, change: MachineChange, services: Wired) -> MachineOut:
    """Change some fields of a machine."""
    return await services.registry.change_machine(machine, change)


@router.delete("/machines/{machine}", tags=["machines"], status_code=204, responses=responses(404, 409))
async def remove_machine(machine: MachineId, services: Wired) -> None:
    """Remove a machine that has no node."""
    await services.registry.remove_machine(machine)


@router.get("/nodes", tags=["nodes"])
async def list_nodes(services: Wired) -> list[NodeOut]:
    """All nodes by id."""
    return await services.registry.nodes()


@router.post("/nodes", tags=["nodes"], status_code=201, responses=responses(409))
async def add_node(wanted: NodeIn, services: Wired) -> NodeOut:
    """Register a node on a machine; its gateway hears of it at once."""
    return await services.registry.add_node(wanted)


@router.get("/nodes/{node}", tags=["nodes"], responses=responses(404))
async def get_node(node: NodeId, services: Wired) -> NodeOut:
    """One node."""
    return await services.registry.node(node)


@router.get("/nodes/{node}/audit", tags=["nodes"], responses=responses(404))
async def get_node_audit(node: NodeId, services: Wired) -> list[NodeAuditOut]:
    """What people did to a node, oldest first; it outlives the node."""
    return await services.registry.node_log(node)


@router.patch("/nodes/{node}", tags=["nodes"], responses=responses(404, 409))
async def change_node(node: NodeId, change: NodeChange, services: Wired) -> NodeOut:
    """Move a node to another machine or gateway."""
    return await services.registry.change_node(node, change)


@router.delete("/nodes/{node}", tags=["nodes"], status_code=204, responses=responses(404))
async def remove_node(node: NodeId, services: Wired) -> None:
    """Remove a node."""
    await services.registry.remove_node(node)


@router.post("/nodes/{node}/credentials", tags=["nodes"], status_code=201, responses=responses(404))
async def renew_node_credentials(node: NodeId, services: Wired, response: Response) -> NewCredentials:
    """Give a node new OSCORE keys; the answer holds them, this once. Keys that it had stop working at once."""
    response.headers["Cache-Control"] = "no-store"
    return await renew_credentials(services.registry, node)


@router.get("/gateways", tags=["gateways"])
async def list_gateways(services: Wired) -> list[GatewayOut]:
    """All gateways by id."""
    return await services.registry.gateways()


@router.post("/gateways", tags=["gateways"], status_code=201, responses=responses(409))
async def add_gateway(wanted: GatewayIn, services: Wired) -> GatewayWithToken:
    """Register a gateway; the answer holds its token, this once."""
    return await services.registry.add_gateway(wanted)


@router.get("/gateways/{gateway}", tags=["gateways"], responses=responses(404))
async def get_gateway(gateway: GatewayId, services: Wired) -> GatewayOut:
    """One gateway."""
    return await services.registry.gateway(gateway)


@router.patch("/gateways/{gateway}", tags=["gateways"], responses=responses(404))
async def change_gateway(gateway: GatewayId, change: GatewayChange, services: Wired) -> GatewayOut:
    """Rename a gateway."""
    return await services.registry.change_gateway(gateway, change)


@router.post("/gateways/{gateway}/token", tags=["gateways"], responses=responses(404))
async def rotate_gateway_token(gateway: GatewayId, services: Wired) -> GatewayWithToken:
    """Give a gateway a new token; the old one stops working at once."""
    return await services.registry.rotate_token(gateway)


@router.delete("/gateways/{gateway}", tags=["gateways"], status_code=204, responses=responses(404, 409))
async def remove_gateway(gateway: GatewayId, services: Wired) -> None:
    """Remove a gateway that serves no node."""
    await services.registry.remove_gateway(gateway)
