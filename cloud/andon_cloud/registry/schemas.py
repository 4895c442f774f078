"""The registry's documents as the API shows and takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from andon_cloud.identifiers import DnsLabel, EpochMs, Line

if TYPE_CHECKING:
    from pydantic.config import JsonDict

Name = Annotated[Line, Field(min_length=1, max_length=200)]
IdealCycle = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False, description="Best possible cycle, seconds")]

_MACHINE: JsonDict = {
    "id": "press-7",
    "name": "Press 7",
    "kind": "press",
    "site": "demo",
    "area": "a1",
    "line": "l1",
    "ideal_cycle_s": 4.5,
}


class MachineIn(BaseModel):
    """A machine to register."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_MACHINE]})

    id: DnsLabel
    name: Name
    kind: DnsLabel = "machine"
    site: DnsLabel
    area: DnsLabel
    line: DnsLabel
    ideal_cycle_s: IdealCycle | None = None


class MachineChange(BaseModel):
    """The fields of a machine to change; absent ones stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"line": "l2", "ideal_cycle_s": 4.2}]})

    name: Name = ""
    kind: DnsLabel = ""
    site: DnsLabel = ""
    area: DnsLabel = ""
    line: DnsLabel = ""
    ideal_cycle_s: IdealCycle | None = None


class MachineOut(BaseModel):
    """A machine with the ids of its nodes."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"examples": [_MACHINE | {"created_ms": 1764000000000, "nodes": ["press-7"]}]},
    )

    id: str
    name: str
    kind: str
    site: str
    area: str
    line: str
    ideal_cycle_s: float | None
    created_ms: EpochMs
    nodes: list[str] = Field(default_factory=list)


class GatewayIn(BaseModel):
    """A gateway to register; the cloud makes its token."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"id": "gw-1", "name": "Hall 1"}]})

    id: DnsLabel
    name: Name


class GatewayChange(BaseModel):
    """The fields of a gateway to change."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Hall 2"}]})

    name: Name


class GatewayOut(BaseModel):
    """A gateway without its token."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [{"id": "gw-1", "name": "Hall 1", "assets_version": 3, "created_ms": 1764000000000}]
        },
    )

    id: str
    name: str
    assets_version: int = Field(description="Grows with every change of the gateway's nodes and their machines")
    created_ms: EpochMs


class GatewayWithToken(GatewayOut):
    """A gateway with its new token, shown this once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "gw-1",
                    "name": "Hall 1",
                    "assets_version": 1,
                    "created_ms": 1764000000000,
                    "token": "<43 characters>",
                }
            ]
        }
    )

    token: str = Field(description="Keep it now: only its hash is stored")


class NodeIn(BaseModel):
    """A node to register on a machine."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"id": "press-7", "machine_id": "press-7", "gateway_id": "gw-1"}]},
    )

    id: DnsLabel
    machine_id: DnsLabel
    gateway_id: DnsLabel


class NodeChange(BaseModel):
    """The fields of a node to change; absent ones stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"gateway_id": "gw-2"}]})

    machine_id: DnsLabel = ""
    gateway_id: DnsLabel = ""


class NodeOut(BaseModel):
    """A node and where it is."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "press-7",
                    "machine_id": "press-7",
                    "gateway_id": "gw-1",
                    "created_ms": 1764000000000,
                    "firmware": "1.3.0",
                    "revision": 4,
                    "seen_ms": 1764000060000,
                }
            ]
        },
    )

    id: str
    machine_id: str
    gateway_id: str
    created_ms: EpochMs
    firmware: str | None = Field(default=None, description="Version that it said it runs")
    revision: int | None = Field(default=None, description="Of the configuration that it said it has")
    seen_ms: EpochMs | None = Field(default=None, description="When its gateway last heard it, to about a minute")


class NodeAuditOut(BaseModel):
    """One entry of a node's log."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "action": "adopted",
                    "machine_id": "press-9",
                    "gateway_id": "gw-1",
                    "actor": "api",
                    "reason": "mounted today",
                    "at_ms": 1764000000000,
                }
            ]
        },
    )

    action: str
    machine_id: str
    gateway_id: str
    actor: str
    reason: str
    at_ms: EpochMs
