"""What a node's `GET /update` means for an update that the cloud has ordered. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from andon_gateway.orders.step import Step

FINAL: Final = frozenset({"confirmed", "failed", "rolled-back"})
RECOVERY: Final = "recovery"
CONFIRMED: Final = "confirmed"
MAX_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node's answer to `GET /update` (docs/protocol.md).

    Attributes:
        version: What runs.
        running: From which slot; `recovery` when nothing else can run.
        state: `idle`, `fetching` or `trial`.
        name: File of the job that the node has, None without one.
        received: Bytes of it.
        total: Of so many, None before the node knows.
        last: How its last update ended.
    """

    version: str
    running: str
    state: str
    name: str | None
    received: int
    total: int | None
    last: str


@dataclass(frozen=True, slots=True)
class Progress(Step):
    """The update has come so far, and the node has so many bytes of it."""

    received: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """The node is to be told (again)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The node cannot take the update now; `why` says what it is busy with."""

    why: str


Verdict = Progress | Tell | Wait


def parse_status(payload: bytes) -> NodeStatus | None:
    """Read the answer; None when it is none."""
    try:
        body = json.loads(payload)
        name, total = body["name"], body["total"]
        return NodeStatus(
            version=str(body["version"]),
            running=str(body["running"]),
            state=str(body["state"]),
            name=None if name is None else str(name),
            received=int(body["received"]),
            total=None if total is None else int(total),
            last=str(body["last"])[:MAX_TEXT],
        )
    except (ValueError, KeyError, TypeError):
        return None


def judge(status: NodeStatus, *, name: str, version: str, before: str | None, told: bool) -> Verdict:
    """What to make of a node's status.

    Args:
        status: The node's answer.
        name: File at the gateway that the node is to fetch.
        version: The version in it.
        before: The node's `last` when it was first told; None: it never was.
        told: Whether the node has accepted the update. If it accepted it and the answer was lost, only a changed `last` proves
            that the node has dealt with it.
    """
    now = _now(status, name, version, before)
    return _after(status, version, before, told=told) if now is None else now


def _now(status: NodeStatus, name: str, version: str, before: str | None) -> Verdict | None:
    """What the node does at present that says something about the update."""
    if status.name == name:
        return Progress("fetching", "", status.received, status.total)
    if status.version == version and status.running != RECOVERY:
        if status.state == "trial":
            return Progress("trial")
        return Progress("confirmed", "the node ran this version already" if before is None else "")
    if status.name is not None:
        return Wait(f"the node is busy with {status.name}")
    if status.state == "trial":
        return Wait(f"the node has {status.version} on trial")
    return None


def _after(status: NodeStatus, version: str, before: str | None, *, told: bool) -> Verdict:
    """An idle node with another version: it does not know yet, or it is over.

    What it says about a failed fetch it forgets when its power goes; then it is told again, unless what it says is about this very
    version: that is an end of it, if perhaps that of an earlier try.
    """
    last = status.last
    if before is None or (last == before and not (told and f" {version}:" in last)):
        return Tell()
    if last.startswith("rolled back"):
        return Progress("rolled-back", last)
    return Tell() if last in ("", CONFIRMED) else Progress("failed", last)
