"""Configurations as the API shows and takes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict  # noqa: TC002 - the annotation stands at module level

from andon_cloud.commands.schemas import Reason
from andon_cloud.configurations.lifecycle import ConfigurationStatus
from andon_cloud.identifiers import EpochMs
from andon_cloud.orders.schemas import Detail, OrderAuditOut

_CONFIGURATION: JsonDict = {
    "id": "0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11",
    "node": "press-7",
    "revision": 5,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size": 1244,
    "signed": True,
    "reason": "second thermometer",
    "actor": "api",
    "expires_ms": 1764086400000,
    "status": "confirmed",
    "times": {
        "requested": 1764000000000,
        "sent": 1764000000040,
        "trial": 1764000001000,
        "confirmed": 1764000004000,
    },
    "detail": "",
}
_AUDIT: JsonDict = {
    "status": "requested",
    "applied": True,
    "actor": "api",
    "reason": "second thermometer",
    "at_ms": 1764000000000,
    "recorded_ms": 1764000000000,
}


class ConfigurationOut(BaseModel):
    """A configuration for a node, and how far it has come."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CONFIGURATION]})

    id: str
    node: str
    revision: int
    sha256: str = Field(description="SHA-256 of the document's bytes, hexadecimal")
    size: int
    signed: bool = Field(description="It came with a signature; whether one is needed the node decides")
    reason: str
    actor: str
    expires_ms: EpochMs
    status: ConfigurationStatus
    times: dict[ConfigurationStatus, EpochMs] = Field(description="When each status was reached, milliseconds")
    detail: str = Field(description="What the node, its gateway or the cloud said about the last step")


class ConfigurationHistory(ConfigurationOut):
    """A configuration with its audit log, oldest entry first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CONFIGURATION | {"audit": [_AUDIT]}]})

    audit: list[OrderAuditOut]


class ConfigurationCancel(BaseModel):
    """Why a configuration is not wanted any more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "wrong document"}]})

    reason: Reason


class ConfigurationReport(BaseModel):
    """What a gateway tells about a configuration."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "state": "refused",
                    "at_ms": 1764000001000,
                    "detail": "4.03 relays: a change needs the site's signature",
                }
            ]
        },
    )

    state: Literal["sent", "trial", "confirmed", "refused", "rolled-back", "failed"]
    at_ms: EpochMs
    detail: Annotated[str, Detail] = ""


class ConfigurationEvent(BaseModel):
    """One entry of a `configurations` event on a gateway's stream."""

    id: str
    node: str
    revision: int
    sha256: str
    size: int
    signature: str | None
    told: bool = Field(description="The node has taken it already, as a gateway said")
    expires_ms: EpochMs
