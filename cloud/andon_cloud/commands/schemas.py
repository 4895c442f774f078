"""Relay commands as the API shows and takes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict  # noqa: TC002 - the annotation stands at module level

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.identifiers import Channel, DnsLabel, EpochMs, Line
from andon_cloud.orders.schemas import Detail, OrderAuditOut

Reason = Annotated[Line, Field(min_length=1, max_length=200, description="Why; kept in the audit log")]


_COMMAND: JsonDict = {
    "id": "0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11",
    "machine": "press-7",
    "node": "press-7",
    "relay": 0,
    "state": False,
    "lease_s": 600,
    "reason": "tool change",
    "actor": "api",
    "expires_ms": 1764000030000,
    "status": "confirmed",
    "times": {
        "queued": 1764000000000,
        "sent": 1764000000004,
        "acknowledged": 1764000000031,
        "confirmed": 1764000000090,
    },
    "contact": False,
    "detail": "",
}

_AUDIT: JsonDict = {
    "status": "queued",
    "applied": True,
    "actor": "api",
    "reason": "tool change",
    "at_ms": 1764000000000,
    "recorded_ms": 1764000000000,
}


class CommandIn(BaseModel):
    """A wish to switch a relay."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"state": False, "lease_s": 600, "reason": "tool change", "expires_s": 30}]},
    )

    state: Annotated[bool, Field(strict=True, description="true closes the contact, false opens it")]
    lease_s: Annotated[
        int, Field(strict=True, ge=1, le=86_400, description="Seconds until the node goes back to its safe state")
    ]
    reason: Reason
    expires_s: Annotated[
        int, Field(strict=True, ge=1, le=86_400, description="Not executed when this many seconds have passed")
    ] = 30


class CommandOut(BaseModel):
    """A relay command and how far it has come."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COMMAND]})

    id: str
    machine: str
    node: str
    relay: int
    state: bool
    lease_s: int
    reason: str
    actor: str
    expires_ms: EpochMs
    status: CommandStatus
    times: dict[CommandStatus, EpochMs] = Field(description="When each status was reached, milliseconds")
    contact: bool | None = Field(description="The contact as the node read it back, when it told")
    detail: str = Field(description="What the gateway or the cloud said about the last step")


class CommandHistory(CommandOut):
    """A relay command with its audit log, oldest entry first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_COMMAND | {"audit": [_AUDIT]}]})

    audit: list[OrderAuditOut]


class CommandReport(BaseModel):
    """What a gateway tells about a command."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"state": "acknowledged", "at_ms": 1764000000031, "contact": False, "detail": ""}]
        },
    )

    state: Literal["sent", "acknowledged", "expired", "failed"]
    at_ms: EpochMs
    contact: bool | None = None
    detail: Annotated[str, Detail] = ""


class DeclaredCommand(BaseModel):
    """A command that a gateway has issued itself, for one of its rules."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "node": "press-7",
                    "relay": 0,
                    "state": False,
                    "lease_s": 600,
                    "expires_ms": 1764000030000,
                    "rule": "press-hot",
                    "reason": "alarm of high at press-7 temperature/0",
                    "at_ms": 1764000000000,
                }
            ]
        },
    )

    node: DnsLabel
    relay: Channel
    state: Annotated[bool, Field(strict=True)]
    lease_s: Annotated[int, Field(strict=True, ge=1, le=86_400)]
    expires_ms: EpochMs
    rule: DnsLabel
    reason: Reason
    at_ms: EpochMs


class CommandEvent(BaseModel):
    """The data of a `command` event on a gateway's stream."""

    id: str
    node: str
    relay: int
    state: bool
    lease_s: int
    expires_ms: EpochMs
