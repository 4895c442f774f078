"""The rule document as the API takes and shows it (docs/protocol.md, Alarm rules; tests/vectors/rules.json)."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict  # noqa: TC002 - the annotation stands at module level

from andon_cloud.identifiers import DNS_LABEL_PATTERN, Channel, DnsLabel, EpochMs, Line

MOST_RULES: Final = 500
MOST_BYTES: Final = 1 << 20
MEASURED: Final = frozenset(
    {
        *("temperature", "humidity", "pressure", "flow", "level", "mass", "rotation", "voltage", "current"),
        *("power", "reactive_power", "apparent_power", "power_factor", "frequency", "meter"),
    }
)
"""Continuous quantities of the protocol's vocabulary; the others are counted or switched."""
REPORTED: Final = MEASURED | {"cycles", "energy", "relay", "input"}
_NODE_PATTERN: Final = re.compile(r"[a-z0-9*?-]{1,63}", re.ASCII)
_CHANNEL_PATTERN: Final = re.compile(r"([a-z0-9_]+)/(\*|[0-9]|[1-5][0-9]|6[0-3])", re.ASCII)


def _node_pattern(text: str) -> str:
    pattern = _NODE_PATTERN if {"*", "?"} & set(text) else re.compile(DNS_LABEL_PATTERN.rstrip("$"), re.ASCII)
    if not pattern.fullmatch(text):
        raise ValueError("expected a node id such as press-7, or a pattern of node ids such as press-*")
    return text


def _measured(text: str) -> str:
    match = _CHANNEL_PATTERN.fullmatch(text)
    if match is None or match[1] not in MEASURED:
        raise ValueError("expected a continuous quantity and its channel, such as temperature/0 or temperature/*")
    return text


def _reported(text: str) -> str:
    match = _CHANNEL_PATTERN.fullmatch(text)
    if match is None or match[1] not in REPORTED:
        raise ValueError("expected a quantity and its channel, such as cycles/0 or temperature/*")
    return text


Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Band = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e15)]
Delay = Annotated[float, Field(allow_inf_nan=False, ge=0, le=86_400)]
Span = Annotated[float, Field(allow_inf_nan=False, ge=1, le=7 * 86_400)]
NodePattern = Annotated[str, AfterValidator(_node_pattern)]
MeasuredChannel = Annotated[str, AfterValidator(_measured), Field(examples=["temperature/0", "temperature/*"])]
ReportedChannel = Annotated[str, AfterValidator(_reported), Field(examples=["cycles/0", "temperature/*"])]
OnDelay = Annotated[Delay, Field(description="Seconds that the condition must hold before the alarm becomes active")]
OffDelay = Annotated[Delay, Field(description="Seconds that it must be over before the alarm returns to normal")]

_HIGH: JsonDict = {
    "id": "press-hot",
    "type": "high",
    "nodes": ["press-*"],
    "channel": "temperature/0",
    "setpoint": 80.0,
    "deadband": 2.0,
    "on_delay_s": 5.0,
    "priority": "high",
    "action": {"relay": 0, "state": False, "lease_s": 600},
}
_NO_DATA: JsonDict = {
    "id": "press-silent",
    "type": "no-data",
    "nodes": ["press-7"],
    "channel": "temperature/0",
    "timeout_s": 120,
    "priority": "medium",
}
_DOCUMENT: JsonDict = {"version": 3, "rules": [_HIGH, _NO_DATA]}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RelayAction(_Part):
    """What is switched while the alarm is active; the gateway renews the lease as long as it is."""

    relay: Channel
    state: bool = Field(description="true closes the contact, false opens it")
    lease_s: Annotated[int, Field(ge=1, le=86_400)]
    node: Annotated[DnsLabel | None, Field(description="The node with the relay; absent: the alarm's own node")] = None


class _Rule(_Part):
    id: DnsLabel
    nodes: Annotated[list[NodePattern], Field(min_length=1, max_length=1000)]
    priority: Literal["urgent", "high", "medium", "low", "journal"]
    description: Annotated[str, Field(max_length=500)] = ""
    action: RelayAction | None = None


class AbsoluteRule(_Rule):
    """The value is beyond a setpoint."""

    type: Literal["high-high", "high", "low", "low-low"]
    channel: MeasuredChannel
    setpoint: Annotated[Number, Field(description="In the channel's unit")]
    deadband: Band = 0.0
    on_delay_s: OnDelay = 0.0
    off_delay_s: OffDelay = 0.0


class RateRule(_Rule):
    """The value moves too fast."""

    type: Literal["rate-of-change"]
    channel: MeasuredChannel
    setpoint: Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e15, description="Units per minute")]
    window_s: Span
    direction: Literal["rising", "falling", "either"] = "either"
    deadband: Band = 0.0
    on_delay_s: OnDelay = 0.0
    off_delay_s: OffDelay = 0.0


class StuckRule(_Rule):
    """Readings arrive and do not move."""

    type: Literal["stuck"]
    channel: MeasuredChannel
    duration_s: Span
    deadband: Annotated[Band, Field(description="Readings that differ by no more than this are the same")] = 0.0
    on_delay_s: OnDelay = 0.0
    off_delay_s: OffDelay = 0.0


class NoDataRule(_Rule):
    """No reading arrives."""

    type: Literal["no-data"]
    channel: ReportedChannel
    timeout_s: Span


Rule = Annotated[AbsoluteRule | RateRule | StuckRule | NoDataRule, Field(discriminator="type")]


class RulesIn(_Part):
    """All rules of the plant, in place of those that there are."""

    # What GET has answered can be edited and put back as it is: `actor` and `created_ms` are passed over.
    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [_DOCUMENT]})

    version: Annotated[int | None, Field(ge=0, description="The version that you have edited; 0 before the first")] = (
        None
    )
    rules: Annotated[list[Rule], Field(max_length=MOST_RULES)]

    @model_validator(mode="after")
    def _ids_differ(self) -> RulesIn:
        seen: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.id in seen:
                raise ValueError(f"rules.{index}.id: {rule.id} is there twice; every rule needs an id of its own")
            seen.add(rule.id)
        return self


class RulesOut(BaseModel):
    """One version of the plant's rules."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_DOCUMENT | {"actor": "api", "created_ms": 1764000000000}]}
    )

    version: int
    rules: list[Rule]
    actor: str = Field(description="Who put it there")
    created_ms: EpochMs


_STATUS: JsonDict = {"version": 3, "rules": 2, "refused": ""}


class RulesStatus(BaseModel):
    """What a gateway has in force."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATUS]})

    version: Annotated[int, Field(ge=0, lt=2**53, description="0: no rules")]
    rules: Annotated[int, Field(ge=0, le=MOST_RULES)]
    refused: Annotated[
        Line, Field(max_length=500, description="Why it does not take the newest version; empty: it does")
    ]


class RulesStatusOut(RulesStatus):
    """What a gateway has in force, and when it said so."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"examples": [_STATUS | {"gateway": "gw-1", "told_ms": 1764000000000}]},
    )

    gateway: Annotated[str, Field(validation_alias=AliasChoices("gateway", "gateway_id"))]
    told_ms: EpochMs
