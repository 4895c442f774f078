"""Nodes that a gateway hears and the registry does not know: told by the gateway, adopted by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select

from andon_cloud.auth import AuthenticatedGateway, require_person
from andon_cloud.gateways.models import QuarantinedNode
from andon_cloud.identifiers import DnsLabel, EpochMs, Line
from andon_cloud.problems import not_found, responses
from andon_cloud.registry.models import Node
from andon_cloud.registry.routes import GatewayId, NodeId
from andon_cloud.registry.schemas import NodeIn, NodeOut
from andon_cloud.services import Wired

if TYPE_CHECKING:
    from pydantic.config import JsonDict

MOST_NODES: Final = 1000
"""In one report; gateways keep fewer unknown nodes themselves."""

router = APIRouter(
    prefix="/api/v1", responses=responses(401, 422), tags=["nodes"], dependencies=[Depends(require_person)]
)
channel = APIRouter(prefix="/api/v1/gateways/{gateway}", responses=responses(401, 403, 422), tags=["gateway channel"])

_UNKNOWN: JsonDict = {
    "node": "press-9",
    "first_ms": 1764000000000,
    "last_ms": 1764000060000,
    "packs": 12,
    "address": "coap://192.0.2.7:5683",
}


class UnknownNode(BaseModel):
    """A node that the gateway hears and that has no place here."""

    model_config = ConfigDict(json_schema_extra={"examples": [_UNKNOWN]})

    node: DnsLabel
    first_ms: EpochMs
    last_ms: EpochMs
    packs: Annotated[int, Field(ge=0, lt=2**53, description="Packs that wait at the gateway, or have waited")]
    address: Annotated[Line, Field(max_length=200)]


class QuarantineReport(BaseModel):
    """All unknown nodes of one gateway; it replaces the report before."""

    nodes: Annotated[list[UnknownNode], Field(max_length=MOST_NODES)]


class UnknownNodeOut(UnknownNode):
    """An unknown node and the gateway that hears it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_UNKNOWN | {"gateway": "gw-1"}]})

    gateway: str


class Adoption(BaseModel):
    """Where the node is mounted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"machine_id": "press-9"}]})

    machine_id: DnsLabel


@channel.post("/quarantine", status_code=204)
async def report_quarantine(identity: AuthenticatedGateway, report: QuarantineReport, services: Wired) -> None:
    """Tell which unknown nodes are waiting, all of them; repeating a report changes nothing."""
    async with services.database.writing() as session:
        await session.execute(delete(QuarantinedNode).where(QuarantinedNode.gateway_id == identity.id))
        unknown = {item.node: item for item in report.nodes}
        session.add_all(
            QuarantinedNode(gateway_id=identity.id, node_id=node, **item.model_dump(exclude={"node"}))
            for node, item in unknown.items()
        )


@router.get("/quarantine")
async def list_quarantine(services: Wired) -> list[UnknownNodeOut]:
    """Nodes that gateways hear and nobody has registered, by gateway and id."""
    async with services.database.reading() as session:
        rows = await session.scalars(
            select(QuarantinedNode)
            .where(QuarantinedNode.node_id.not_in(select(Node.id)))
            .order_by(QuarantinedNode.gateway_id, QuarantinedNode.node_id)
        )
        return [
            UnknownNodeOut(
                gateway=row.gateway_id,
                node=row.node_id,
                first_ms=row.first_ms,
                last_ms=row.last_ms,
                packs=row.packs,
                address=row.address,
            )
            for row in rows
        ]


@router.post(
    "/gateways/{gateway}/quarantine/{node}/adopt",
    status_code=201,
    responses=responses(404, 409),
)
async def adopt_node(gateway: GatewayId, node: NodeId, adoption: Adoption, services: Wired) -> NodeOut:
    """Mount a waiting node on a machine: the gateway hears of it at once and lets its packs go."""
    async with services.database.reading() as session:
        if await session.get(QuarantinedNode, (gateway, node)) is None:
            raise not_found("waiting node", f"{node} at gateway {gateway}")
    adopted = await services.registry.add_node(NodeIn(id=node, machine_id=adoption.machine_id, gateway_id=gateway))
    async with services.database.writing() as session:
        row = await session.get(QuarantinedNode, (gateway, node))
        if row is not None:
            await session.delete(row)
    return adopted
