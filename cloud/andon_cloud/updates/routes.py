"""REST of firmware and updates: for people under /api/v1, for gateways under their own path."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from andon_cloud.auth import AuthenticatedGateway, Person
from andon_cloud.problems import Problem, responses
from andon_cloud.registry.routes import NodeId
from andon_cloud.services import Wired
from andon_cloud.updates.bundle import MAX_BUNDLE_BYTES
from andon_cloud.updates.schemas import (
    FirmwareOut,
    Sha256,
    UpdateCancel,
    UpdateHistory,
    UpdateIn,
    UpdateOut,
    UpdateProgress,
    UpdateReport,
)

router = APIRouter(prefix="/api/v1", tags=["firmware"], responses=responses(401, 422))
channel = APIRouter(prefix="/api/v1/gateways/{gateway}", tags=["gateway channel"], responses=responses(401, 403, 422))

UpdateId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$", examples=["0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11"])]
Digest = Annotated[Sha256, Path(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])]
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_NOT_CHANGED = 304
_CREATED, _OK = 201, 200


@router.post(
    "/firmware",
    status_code=_CREATED,
    responses=responses(413) | {_OK: {"model": FirmwareOut, "description": "It was here already"}},
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
)
async def upload_firmware(request: Request, response: Response, services: Wired, actor: Person) -> FirmwareOut:
    """Upload a signed bundle (`andon firmware build`, `sign`); its sizes, digests and signature are checked."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BUNDLE_BYTES:
            raise Problem(413, f"A bundle has at most {MAX_BUNDLE_BYTES} bytes.")
    kept, is_new = await services.updates.keep(bytes(data), actor)
    response.status_code = _CREATED if is_new else _OK
    return kept


@router.get("/firmware")
async def list_firmware(services: Wired, _actor: Person) -> list[FirmwareOut]:
    """All bundles, newest first."""
    return await services.updates.firmware()


@router.delete("/firmware/{sha256}", status_code=204, responses=responses(404, 409))
async def remove_firmware(sha256: Digest, services: Wired, _actor: Person) -> None:
    """Remove a bundle that no open update needs; the record of past updates stays."""
    await services.updates.remove(sha256)


@router.post("/nodes/{node}/update", status_code=202, responses=responses(404, 409))
async def update_node(node: NodeId, wanted: UpdateIn, services: Wired, actor: Person) -> UpdateOut:
    """Update a node over the network. 202: durably ordered; follow it with GET /api/v1/updates/{id}."""
    return await services.updates.order(node, wanted, actor)


@router.get("/nodes/{node}/updates", responses=responses(404))
async def list_updates(
    node: NodeId, services: Wired, _actor: Person, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[UpdateOut]:
    """The newest updates of a node, newest first."""
    return await services.updates.of_node(node, limit)


@router.get("/updates/{update}", responses=responses(404))
async def get_update(update: UpdateId, services: Wired, _actor: Person) -> UpdateHistory:
    """One update with its audit log."""
    return await services.updates.get(update)


@router.post("/updates/{update}/cancel", responses=responses(404, 409))
async def cancel_update(update: UpdateId, wish: UpdateCancel, services: Wired, actor: Person) -> UpdateOut:
    """End an update that the node does not try yet."""
    return await services.updates.cancel(update, wish.reason, actor)


@channel.get(
    "/firmware/{sha256}",
    response_class=Response,
    responses=responses(404)
    | {
        _OK: {"description": "The bundle", "content": _BINARY},
        _NOT_CHANGED: {"description": "The gateway has it"},
    },
)
async def fetch_firmware(
    _identity: AuthenticatedGateway, sha256: Digest, request: Request, services: Wired
) -> Response:
    """A bundle's bytes, for the gateway's nodes; its ETag is its SHA-256."""
    etag = f'"{sha256}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=_NOT_CHANGED, headers={"ETag": etag})
    content = await services.updates.content(sha256)
    return Response(content, media_type="application/octet-stream", headers={"ETag": etag})


@channel.post("/updates/{update}/events", status_code=204, responses=responses(404))
async def report_update(
    identity: AuthenticatedGateway, update: UpdateId, report: UpdateReport, services: Wired
) -> None:
    """Tell how far an update has come. Repeating a report changes nothing; none moves an update backwards."""
    await services.updates.report(identity.id, update, report)


@channel.post("/updates/{update}/progress", status_code=204, responses=responses(404))
async def report_progress(
    identity: AuthenticatedGateway, update: UpdateId, progress: UpdateProgress, services: Wired
) -> None:
    """Tell how many bytes of the bundle the node has."""
    await services.updates.progress(identity.id, update, progress)
