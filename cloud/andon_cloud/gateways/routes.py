"""The gateways' endpoints under /api/v1/gateways/{gateway}."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from andon_cloud.auth import AuthenticatedGateway
from andon_cloud.commands.routes import CommandId
from andon_cloud.commands.schemas import CommandReport, DeclaredCommand
from andon_cloud.problems import responses
from andon_cloud.services import Wired

router = APIRouter(prefix="/api/v1/gateways/{gateway}", tags=["gateway channel"], responses=responses(401, 403, 422))

_EXAMPLE = 'event: assets\ndata: {"version":1,"nodes":{"press-7":{"site":"demo","area":"a1","line":"l1","machine":"press-7"}}}\n'


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"description": "Server-sent events", "content": {"text/event-stream": {"example": _EXAMPLE}}}},
)
async def stream(identity: AuthenticatedGateway, services: Wired) -> StreamingResponse:
    """The gateway's assets, its open commands, then both as they change; a comment line keeps it alive."""
    # X-Accel-Buffering: nginx would hold events back until its buffer is full.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = services.streams.events(identity.id, identity.token_hash)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.put("/commands/{command}", status_code=204, responses=responses(404, 409))
async def declare_command(
    identity: AuthenticatedGateway, command: CommandId, declared: DeclaredCommand, services: Wired
) -> None:
    """Tell of a command that a rule issued at the gateway. Reports follow as for any command; repeating it changes nothing."""
    await services.commands.declare(identity.id, command, declared)


@router.post("/commands/{command}/events", status_code=204, responses=responses(404))
async def report_command(
    identity: AuthenticatedGateway, command: CommandId, report: CommandReport, services: Wired
) -> None:
    """Tell how far a command has come. Repeating a report changes nothing; none moves a command backwards."""
    await services.commands.report(identity.id, command, report)
