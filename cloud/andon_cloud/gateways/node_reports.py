"""What gateways tell about the nodes that they serve: the versions they run, and when they were heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from andon_cloud.auth import AuthenticatedGateway
from andon_cloud.identifiers import DnsLabel, EpochMs, Line
from andon_cloud.problems import responses
from andon_cloud.registry.models import Node
from andon_cloud.services import Wired

if TYPE_CHECKING:
    from pydantic.config import JsonDict

MOST_NODES: Final = 1000
"""In one report; a gateway with more sends several."""

channel = APIRouter(prefix="/api/v1/gateways/{gateway}", responses=responses(401, 403, 422), tags=["gateway channel"])

_NODE: JsonDict = {"node": "press-7", "version": "1.3.0", "revision": 4, "seen_ms": 1764000000000}


class NodeReport(BaseModel):
    """What one node said when it registered."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NODE]})

    node: DnsLabel
    version: Annotated[Line, Field(max_length=32)] | None = Field(default=None, description="Of its firmware")
    revision: Annotated[int, Field(ge=0, lt=2**53)] | None = Field(default=None, description="Of its configuration")
    seen_ms: EpochMs = Field(description="When the gateway last heard it")


class NodesReport(BaseModel):
    """Some nodes of a gateway; those that are left out stay as they are."""

    nodes: Annotated[list[NodeReport], Field(max_length=MOST_NODES)]


@channel.post("/nodes", status_code=204)
async def report_nodes(identity: AuthenticatedGateway, report: NodesReport, services: Wired) -> None:
    """Tell what nodes run and when they were heard; nodes that this gateway does not serve are passed over."""
    told = {item.node: item for item in report.nodes}
    async with services.database.writing() as session:
        query = select(Node).where(Node.gateway_id == identity.id, Node.id.in_(told)).with_for_update()
        for node in await session.scalars(query):
            item = told[node.id]
            node.firmware, node.revision, node.seen_ms = item.version, item.revision, item.seen_ms
