"""Waiting nodes and unknown keys as gateways tell them and the API shows them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict  # noqa: TC002 - the annotation stands at module level

from andon_cloud.identifiers import DnsLabel, EpochMs, Line

MOST_NODES: Final = 1000
"""In one report; gateways keep fewer unknown nodes themselves."""
MOST_SENT: Final = 64

_UNKNOWN: JsonDict = {
    "node": "press-9",
    "first_ms": 1764000000000,
    "last_ms": 1764000060000,
    "packs": 12,
    "address": "coap://192.0.2.7:5683",
    "sent": {"temperature/0": 41.19, "relay/0": True},
}
_KEYS: JsonDict = {
    "kid": "07",
    "first_ms": 1764000000000,
    "last_ms": 1764000060000,
    "messages": 31,
    "address": "coap://192.0.2.8:5683",
    "node": "press-8",
}

Count = Annotated[int, Field(ge=0, lt=2**53)]
SentValue = bool | Annotated[float, Field(allow_inf_nan=False)] | Annotated[Line, Field(max_length=64)]


class UnknownNode(BaseModel):
    """A node that the gateway hears and that has no place here."""

    model_config = ConfigDict(json_schema_extra={"examples": [_UNKNOWN]})

    node: DnsLabel
    first_ms: EpochMs
    last_ms: EpochMs
    packs: Annotated[Count, Field(description="Packs that wait at the gateway, or have waited")]
    address: Annotated[Line, Field(max_length=200)]
    sent: Annotated[
        dict[Annotated[Line, Field(max_length=64)], SentValue],
        Field(default_factory=dict, max_length=MOST_SENT, description="The newest value under each name"),
    ]


class UnknownKey(BaseModel):
    """Messages protected with keys that the gateway does not have."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEYS]})

    kid: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){0,7}$", description="The sender's OSCORE id, hexadecimal")]
    first_ms: EpochMs
    last_ms: EpochMs
    messages: Count
    address: Annotated[Line, Field(max_length=200)]
    node: DnsLabel | None = Field(default=None, description="Which node was last known at this address")


class QuarantineReport(BaseModel):
    """All unknown nodes and keys of one gateway; it replaces the report before."""

    nodes: Annotated[list[UnknownNode], Field(max_length=MOST_NODES)]
    keys: Annotated[list[UnknownKey], Field(default_factory=list, max_length=MOST_NODES)]


class UnknownNodeOut(UnknownNode):
    """An unknown node and the gateway that hears it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_UNKNOWN | {"gateway": "gw-1"}]})

    gateway: str


class UnknownKeysOut(UnknownKey):
    """Unknown keys, the gateway that hears them, and whose they are if they are somebody's."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_KEYS | {"gateway": "gw-1", "owner": "press-8", "owner_gateway": "gw-2"}]}
    )

    gateway: str
    owner: str | None = Field(default=None, description="The node that has these keys; none: they were replaced")
    owner_gateway: str | None = Field(default=None, description="The gateway that this node is registered at")


class Adoption(BaseModel):
    """Where the node is mounted, and why that is known."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"machine_id": "press-9", "reason": "mounted today"}]}
    )

    machine_id: DnsLabel
    reason: Annotated[Line, Field(max_length=200, description="Kept in the node's log")] = ""
