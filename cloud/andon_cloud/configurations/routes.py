"""REST of the configurations: for people under /api/v1, for gateways under their own path."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from andon_cloud.auth import AuthenticatedGateway, Person
from andon_cloud.commands.schemas import Reason
from andon_cloud.configurations.document import MAX_DOCUMENT_BYTES
from andon_cloud.configurations.schemas import (
    ConfigurationCancel,
    ConfigurationHistory,
    ConfigurationOut,
    ConfigurationReport,
)
from andon_cloud.configurations.service import Wish
from andon_cloud.problems import Problem, responses
from andon_cloud.registry.routes import NodeId
from andon_cloud.services import Wired

router = APIRouter(prefix="/api/v1", tags=["configurations"], responses=responses(401, 422))
channel = APIRouter(prefix="/api/v1/gateways/{gateway}", tags=["gateway channel"], responses=responses(401, 403, 422))

ConfigurationId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$", examples=["0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11"])]
DAY_S = 86_400
_JSON = {"application/json": {"schema": {"type": "object"}}}


@router.post(
    "/nodes/{node}/configurations",
    status_code=202,
    responses=responses(404, 409, 413),
    openapi_extra={"requestBody": {"required": True, "content": _JSON}},
)
async def configure_node(
    node: NodeId,
    request: Request,
    services: Wired,
    actor: Person,
    *,
    reason: Annotated[Reason, Query(examples=["second thermometer"])],
    sig: Annotated[
        str | None, Query(description="The site's signature of exactly this body, 128 hexadecimal digits")
    ] = None,
    expires_s: Annotated[
        int, Query(ge=60, le=30 * DAY_S, description="Failed when it is not over after so many seconds")
    ] = DAY_S,
) -> ConfigurationOut:
    """Give a node a whole new configuration. 202: durably ordered; follow it with GET /api/v1/configurations/{id}.

    The body goes to the node as it is, so that its signature (`andon node config sign`) holds.
    """
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_DOCUMENT_BYTES:
            raise Problem(413, f"A configuration has at most {MAX_DOCUMENT_BYTES} bytes.")
    return await services.configurations.order(node, Wish(bytes(data), sig, reason, actor, expires_s))


@router.get("/nodes/{node}/configurations", responses=responses(404))
async def list_configurations(
    node: NodeId, services: Wired, _actor: Person, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[ConfigurationOut]:
    """The newest configurations of a node, newest first."""
    return await services.configurations.of_node(node, limit)


@router.get("/configurations/{configuration}", responses=responses(404))
async def get_configuration(configuration: ConfigurationId, services: Wired, _actor: Person) -> ConfigurationHistory:
    """One configuration with its audit log."""
    return await services.configurations.get(configuration)


@router.get(
    "/configurations/{configuration}/document",
    response_class=Response,
    responses=responses(404) | {200: {"description": "The document", "content": _JSON}},
)
async def get_document(configuration: ConfigurationId, services: Wired, _actor: Person) -> Response:
    """The document, without the Wi-Fi password."""
    return Response(await services.configurations.document(configuration), media_type="application/json")


@router.post("/configurations/{configuration}/cancel", responses=responses(404, 409))
async def cancel_configuration(
    configuration: ConfigurationId, wish: ConfigurationCancel, services: Wired, actor: Person
) -> ConfigurationOut:
    """End a configuration that the node has not taken yet."""
    return await services.configurations.cancel(configuration, wish.reason, actor)


@channel.get(
    "/configurations/{configuration}",
    response_class=Response,
    responses=responses(404) | {200: {"description": "The document, byte by byte", "content": _JSON}},
)
async def fetch_configuration(
    identity: AuthenticatedGateway, configuration: ConfigurationId, services: Wired
) -> Response:
    """A document's bytes for one of the gateway's nodes, secrets included; its ETag is its SHA-256."""
    content, sha256 = await services.configurations.content(identity.id, configuration)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "no-store"}
    return Response(content, media_type="application/json", headers=headers)


@channel.post("/configurations/{configuration}/events", status_code=204, responses=responses(404))
async def report_configuration(
    identity: AuthenticatedGateway, configuration: ConfigurationId, report: ConfigurationReport, services: Wired
) -> None:
    """Tell how far a configuration has come. Repeating a report changes nothing; none moves it backwards."""
    await services.configurations.report(identity.id, configuration, report)
