"""Bundles and updates as the API shows and takes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict  # noqa: TC002 - the annotation stands at module level

from andon_cloud.commands.schemas import Reason
from andon_cloud.identifiers import EpochMs
from andon_cloud.orders.schemas import Detail, OrderAuditOut
from andon_cloud.updates.bundle import MAX_BUNDLE_BYTES
from andon_cloud.updates.lifecycle import UpdateStatus

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the whole bundle, hexadecimal")]
Bytes = Annotated[int, Field(ge=0, le=MAX_BUNDLE_BYTES)]
DAY_S = 86_400

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_FIRMWARE: JsonDict = {
    "sha256": _DIGEST,
    "version": "1.3.0",
    "kind": "app",
    "mpy": "6",
    "arch": "any",
    "downgrade": False,
    "verified": True,
    "size": 114902,
    "uploaded_ms": 1764000000000,
    "actor": "api",
}
_UPDATE: JsonDict = {
    "id": "0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11",
    "node": "press-7",
    "sha256": _DIGEST,
    "version": "1.3.0",
    "reason": "fixes the door input",
    "actor": "api",
    "expires_ms": 1764086400000,
    "status": "fetching",
    "times": {"requested": 1764000000000, "sent": 1764000000040, "fetching": 1764000001000},
    "received": 20480,
    "total": 114902,
    "detail": "",
}
_AUDIT: JsonDict = {
    "status": "requested",
    "applied": True,
    "actor": "api",
    "reason": "fixes the door input",
    "at_ms": 1764000000000,
    "recorded_ms": 1764000000000,
}


class FirmwareOut(BaseModel):
    """A bundle that nodes can be updated with."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_FIRMWARE]})

    sha256: str
    version: str
    kind: str = Field(description="app: for a slot; image: for an OTA partition")
    mpy: str
    arch: str
    downgrade: bool
    verified: bool = Field(description="Its signature was checked with the site's key; nodes check it in any case")
    size: int
    uploaded_ms: EpochMs
    actor: str


class UpdateIn(BaseModel):
    """The wish that a node runs a bundle."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"sha256": _DIGEST, "reason": "fixes the door input"}]}
    )

    sha256: Sha256
    reason: Reason
    expires_s: Annotated[
        int, Field(strict=True, ge=60, le=30 * DAY_S, description="Failed when it is not over after so many seconds")
    ] = DAY_S


class UpdateOut(BaseModel):
    """An update and how far it has come."""

    model_config = ConfigDict(json_schema_extra={"examples": [_UPDATE]})

    id: str
    node: str
    sha256: str
    version: str
    reason: str
    actor: str
    expires_ms: EpochMs
    status: UpdateStatus
    times: dict[UpdateStatus, EpochMs] = Field(description="When each status was reached, milliseconds")
    received: int = Field(description="Bytes that the node has")
    total: int | None = Field(description="Of so many, when the node knows")
    detail: str = Field(description="What the node, its gateway or the cloud said about the last step")


class UpdateHistory(UpdateOut):
    """An update with its audit log, oldest entry first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_UPDATE | {"audit": [_AUDIT]}]})

    audit: list[OrderAuditOut]


class UpdateCancel(BaseModel):
    """Why an update is not wanted any more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "wrong bundle"}]})

    reason: Reason


class UpdateReport(BaseModel):
    """What a gateway tells about an update."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"state": "rolled-back", "at_ms": 1764000090000, "detail": "a crash"}]},
    )

    state: Literal["sent", "fetching", "trial", "confirmed", "rolled-back", "failed"]
    at_ms: EpochMs
    detail: Annotated[str, Detail] = ""


class UpdateProgress(BaseModel):
    """How much of a bundle a node has."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"received": 20480, "total": 114902}]})

    received: Bytes
    total: Bytes | None = None


class UpdateEvent(BaseModel):
    """One entry of an `updates` event on a gateway's stream."""

    id: str
    node: str
    version: str
    sha256: str
    size: int
    expires_ms: EpochMs
