"""The rule document (docs/protocol.md, Alarm rules): its model, and what is wrong with one that cannot be used. Pure."""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from andon_gateway.errors import GatewayError
from andon_gateway.vocabulary import CHANNEL_COUNT, QUANTITIES, is_node_id

MOST_RULES: Final = 500
MOST_BYTES: Final = 1 << 20
ANY: Final = "*?"
"""What makes the name of a node a pattern, as in a shell."""
PRIORITIES: Final = {"urgent": 1, "high": 2, "medium": 3, "low": 4, "journal": 5}
"""Alarm priorities (ISA-18.2), the most important first, and the number under which the store has them."""
_NODE_PATTERN: Final = re.compile(r"[a-z0-9*?-]{1,63}", re.ASCII)
_CHANNEL_PATTERN: Final = re.compile(r"[a-z0-9_]+/(\*|[0-9]{1,2})", re.ASCII)


class RulesError(GatewayError):
    """A rule document cannot be used; the message names the place and what was expected there."""


def _label(text: str) -> str:
    if not is_node_id(text):
        raise ValueError("expected a DNS label such as press-hot (a-z, 0-9, inner hyphens, at most 63)")
    return text


def _is_pattern(text: str) -> bool:
    return any(char in ANY for char in text)


def _node_pattern(text: str) -> str:
    if not (_NODE_PATTERN.fullmatch(text) if _is_pattern(text) else is_node_id(text)):
        raise ValueError("expected a node id such as press-7, or a pattern of node ids such as press-*")
    return text


def names_of(pattern: str, *, measured: bool) -> list[str]:
    """Names of the vocabulary that a channel pattern (`temperature/0`, `temperature/*`) means.

    Args:
        pattern: One quantity and a channel number or `*`.
        measured: Only continuous quantities.
    """
    if not _CHANNEL_PATTERN.fullmatch(pattern):
        return []
    quantity, _, channel = pattern.partition("/")
    names = [f"{quantity}/{number}" for number in range(CHANNEL_COUNT)] if channel == "*" else [pattern]
    known = [(name, QUANTITIES[name]) for name in names if name in QUANTITIES]
    return [
        name for name, found in known if found.channel is not None and (found.value_type == "number" or not measured)
    ]


def _measured(pattern: str) -> str:
    if not names_of(pattern, measured=True):
        raise ValueError("expected a continuous quantity and its channel, such as temperature/0 or temperature/*")
    return pattern


def _reported(pattern: str) -> str:
    if not names_of(pattern, measured=False):
        raise ValueError("expected a quantity and its channel, such as cycles/0 or temperature/*")
    return pattern


Label = Annotated[str, AfterValidator(_label)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Band = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e15)]
Delay = Annotated[float, Field(allow_inf_nan=False, ge=0, le=86_400)]
Span = Annotated[float, Field(allow_inf_nan=False, ge=1, le=7 * 86_400)]


class _Part(BaseModel):
    # A key that is not understood could change what a rule means: the whole document is refused instead of half obeyed.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RelayAction(_Part):
    """What a rule switches while its alarm is active; the lease is renewed as long as it is."""

    relay: Annotated[int, Field(ge=0, le=63)]
    state: bool
    lease_s: Annotated[int, Field(ge=1, le=86_400)]
    node: Label | None = None
    """The node with the relay; None: the one that the alarm is about."""


class _Rule(_Part):
    id: Label
    nodes: Annotated[
        tuple[Annotated[str, AfterValidator(_node_pattern)], ...], Field(strict=False, min_length=1, max_length=1000)
    ]
    priority: Literal["urgent", "high", "medium", "low", "journal"]
    description: Annotated[str, Field(max_length=500)] = ""
    action: RelayAction | None = None


class AbsoluteRule(_Rule):
    """Absolute alarm (ISA-18.2): the value is beyond a setpoint, in the channel's unit."""

    type: Literal["high-high", "high", "low", "low-low"]
    channel: Annotated[str, AfterValidator(_measured)]
    setpoint: Number
    deadband: Band = 0.0
    on_delay_s: Delay = 0.0
    off_delay_s: Delay = 0.0


class RateRule(_Rule):
    """Rate-of-change alarm: the value moves by more than `setpoint` units per minute, looked at over `window_s`."""

    type: Literal["rate-of-change"]
    channel: Annotated[str, AfterValidator(_measured)]
    setpoint: Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e15)]
    window_s: Span
    direction: Literal["rising", "falling", "either"] = "either"
    deadband: Band = 0.0
    on_delay_s: Delay = 0.0
    off_delay_s: Delay = 0.0


class StuckRule(_Rule):
    """Instrument diagnostic alarm: readings arrive, and for `duration_s` none differed by more than `deadband`."""

    type: Literal["stuck"]
    channel: Annotated[str, AfterValidator(_measured)]
    duration_s: Span
    deadband: Band = 0.0
    on_delay_s: Delay = 0.0
    off_delay_s: Delay = 0.0


class NoDataRule(_Rule):
    """Instrument diagnostic alarm: by the gateway's clock the newest reading is older than `timeout_s`."""

    type: Literal["no-data"]
    channel: Annotated[str, AfterValidator(_reported)]
    timeout_s: Span


SampleRule = AbsoluteRule | RateRule | StuckRule
Rule = SampleRule | NoDataRule


class RulesDocument(_Part):
    """The whole set of rules of one version."""

    version: Annotated[int, Field(ge=1, lt=2**53)]
    rules: Annotated[
        tuple[Annotated[Rule, Field(discriminator="type")], ...], Field(strict=False, max_length=MOST_RULES)
    ]


def parse_document(text: str) -> RulesDocument:
    """Read and check a document.

    Raises:
        RulesError: One line that names the first wrong place, such as `rules.3.setpoint: ...`.
    """
    if len(text) > MOST_BYTES:
        raise RulesError(f"the rule document has more than {MOST_BYTES} characters")
    try:
        document = RulesDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # pydantic puts the rule's type after its number, where a person looks for the key.
        parts = [str(part) for index, part in enumerate(first["loc"]) if index != 2 or first["loc"][0] != "rules"]  # noqa: PLR2004 -- see above
        place = ".".join(parts) or "document"
        expected = "is no known key" if first["type"] == "extra_forbidden" else first["msg"]
        raise RulesError(f"{place}: {expected}") from None
    seen: set[str] = set()
    for index, rule in enumerate(document.rules):
        if rule.id in seen:
            raise RulesError(f"rules.{index}.id: {rule.id} is there twice; every rule needs an id of its own")
        seen.add(rule.id)
    return document


def matches(rule: Rule, node: str) -> bool:
    """Whether a rule is about a node."""
    return node in rule.nodes or any(fnmatchcase(node, pattern) for pattern in rule.nodes if _is_pattern(pattern))


def channels_of(rule: Rule) -> list[str]:
    """The names of readings that a rule looks at."""
    return names_of(rule.channel, measured=rule.type != "no-data")


def expected_channels(rule: NoDataRule) -> list[tuple[str, str]]:
    """(node, name) that a rule names without a pattern: they are awaited before their first reading."""
    if rule.channel.endswith("*"):
        return []
    return [(node, rule.channel) for node in rule.nodes if not _is_pattern(node)]


def digest(rule: Rule) -> str:
    """Differs when anything but the description of the rule does; a later gateway's new optional keys change nothing."""
    text = rule.model_dump_json(exclude={"description"}, exclude_defaults=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
