"""What a node's `GET /health` means for a configuration that the cloud has ordered. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from andon_gateway.orders.step import Step

FINAL: Final = frozenset({"confirmed", "refused", "rolled-back", "failed"})
IN_RECOVERY: Final = -1


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What a node's answer to `GET /health` says about its configuration (docs/protocol.md).

    Attributes:
        boot: Grows by one at each start; in recovery nobody counts.
        revision: Of the running configuration; unknown in recovery.
        trial: Whether that has still to prove itself.
        refused: How the last one that was rolled back ended; forgotten when one is confirmed.
        recovery: Why the node is in recovery, or None.
    """

    boot: int
    revision: int
    trial: bool
    refused: str | None
    recovery: str | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """What a node said before it was told: a later look is compared with it."""

    boot: int
    revision: int
    refused: str | None

    @classmethod
    def of(cls, health: NodeHealth) -> Before:
        """What of a look is needed later."""
        return cls(health.boot, health.revision, health.refused)

    @classmethod
    def parse(cls, text: str | None) -> Before | None:
        """The inverse of `text`; None stays None."""
        return None if text is None else cls(**json.loads(text))

    def text(self) -> str:
        """For the disk."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Tell:
    """The node is to be told (again)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be said now; `why` says what the node is busy with."""

    why: str


Verdict = Step | Tell | Wait


def parse_health(payload: bytes) -> NodeHealth | None:
    """Read the answer; None when it is none."""
    try:
        body = json.loads(payload)
        if "recovery" in body:
            return NodeHealth(IN_RECOVERY, IN_RECOVERY, trial=False, refused=None, recovery=str(body["recovery"]))
        refused = body["refused"]
        return NodeHealth(
            boot=int(body["boot"]),
            revision=int(body["revision"]),
            trial=bool(body["trial"]),
            refused=None if refused is None else str(refused),
        )
    except (ValueError, KeyError, TypeError):
        return None


def judge(health: NodeHealth, *, revision: int, before: Before | None, told: bool) -> Verdict:
    """What to make of a look at the node.

    Args:
        health: What the node says now.
        revision: That of the ordered document.
        before: What it said before it was told; None: this gateway never told it.
        told: Whether it has accepted the document. If it did and the answer was lost, only what changed since proves it.
    """
    untouched = before is None and not told
    if health.recovery is not None:
        return Wait(f"the node is in recovery: {health.recovery}") if told else Tell()
    if health.trial:
        mine = health.revision == revision and not untouched
        return Step("trial") if mine else Wait(f"the node has configuration {health.revision} on trial")
    if untouched:
        return Tell()
    if health.revision == revision and (before is None or before.revision != revision):
        return Step("confirmed")
    if before is not None and health.boot == before.boot:
        # It starts again a second after it has accepted one.
        return Step("trial") if told else Tell()
    return _after_a_start(health, before, told=told)


def _after_a_start(health: NodeHealth, before: Before | None, *, told: bool) -> Verdict:
    """The node has started since it was told, and runs another configuration."""
    if health.refused is not None and (before is None or health.refused != before.refused):
        return Step("rolled-back", health.refused)
    if told:
        if before is None or before.revision != health.revision:
            return Step("failed", f"the node runs configuration {health.revision}, which somebody else gave it")
        return Step("rolled-back", health.refused or "the node runs the one before again and does not say why")
    if health.refused is None:
        return Tell()
    # The same words as before: of an earlier one, or of this one. A document that may have failed is not tried again.
    return Step("failed", f"its answer was lost and it has started since, so it may have tried it: {health.refused}")
