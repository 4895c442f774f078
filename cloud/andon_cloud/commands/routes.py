"""REST of the relay commands under /api/v1."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query

from andon_cloud.auth import Person
from andon_cloud.commands.schemas import CommandHistory, CommandIn, CommandOut
from andon_cloud.identifiers import Channel, DnsLabel
from andon_cloud.problems import responses
from andon_cloud.services import Wired

router = APIRouter(prefix="/api/v1", tags=["commands"], responses=responses(401, 404, 422))

CommandId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$", examples=["0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11"])]
MachineId = Annotated[DnsLabel, Path(examples=["press-7"])]


@router.post("/machines/{machine}/relays/{relay}/commands", status_code=202, responses=responses(409))
async def issue_command(
    machine: MachineId,
    relay: Annotated[Channel, Path(examples=[0])],
    wanted: CommandIn,
    services: Wired,
    actor: Person,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="The same key and body answer with the first command, another body with 409",
        ),
    ] = None,
) -> CommandOut:
    """Switch a relay of a machine. 202: the command is durably queued; follow it with GET /api/v1/commands/{id}."""
    return await services.commands.issue(machine, relay, wanted, actor=actor, idempotency_key=idempotency_key)


@router.get("/commands/{command}")
async def get_command(command: CommandId, services: Wired, _actor: Person) -> CommandHistory:
    """One command with its audit log."""
    return await services.commands.get(command)


@router.get("/machines/{machine}/commands")
async def list_commands(
    machine: MachineId, services: Wired, _actor: Person, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[CommandOut]:
    """The newest commands of a machine, newest first."""
    return await services.commands.of_machine(machine, limit)
