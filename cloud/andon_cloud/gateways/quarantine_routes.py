"""REST of the quarantine: for people under /api/v1, for gateways under their own path."""

from __future__ import annotations

from fastapi import APIRouter

from andon_cloud.auth import AuthenticatedGateway, Person
from andon_cloud.gateways.quarantine_schemas import (
    Adoption,
    QuarantineReport,
    UnknownKeysOut,
    UnknownNodeOut,
)
from andon_cloud.problems import responses
from andon_cloud.registry.routes import GatewayId, NodeId
from andon_cloud.registry.schemas import NodeOut
from andon_cloud.services import Wired

router = APIRouter(prefix="/api/v1", responses=responses(401, 422), tags=["nodes"])
channel = APIRouter(prefix="/api/v1/gateways/{gateway}", responses=responses(401, 403, 422), tags=["gateway channel"])


@channel.post("/quarantine", status_code=204)
async def report_quarantine(identity: AuthenticatedGateway, report: QuarantineReport, services: Wired) -> None:
    """Tell who is heard and cannot report, all of them; repeating a report changes nothing."""
    await services.quarantine.replace(identity.id, report)


@router.get("/quarantine")
async def list_quarantine(services: Wired, _actor: Person) -> list[UnknownNodeOut]:
    """Nodes that gateways hear and nobody has registered, by gateway and id."""
    return await services.quarantine.nodes()


@router.get("/quarantine/keys")
async def list_unknown_keys(services: Wired, _actor: Person) -> list[UnknownKeysOut]:
    """Who speaks to a gateway with keys that it does not have, and so cannot report; by gateway and kid."""
    return await services.quarantine.keys()


@router.post("/gateways/{gateway}/quarantine/{node}/adopt", status_code=201, responses=responses(404, 409))
async def adopt_node(gateway: GatewayId, node: NodeId, adoption: Adoption, services: Wired, actor: Person) -> NodeOut:
    """Mount a waiting node on a machine: the gateway hears of it at once and lets its packs go."""
    return await services.quarantine.adopt(gateway, node, adoption, actor)
