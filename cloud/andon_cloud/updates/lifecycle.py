r"""The life of a node's update as a pure state machine (docs/protocol.md, Updates).

    requested -> sent -> fetching -> trial -> confirmed
        \___________\________\_________\-> rolled-back | failed

The gateway tells what the node says. Reports may be lost, repeated or late: a step forward may leave out the ones between, a
step backwards or out of a final status changes nothing. A node that fails its trial and is told again goes back to fetching
nowhere: each order is one try.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class UpdateStatus(StrEnum):
    """Where an update is in its life."""

    REQUESTED = "requested"
    SENT = "sent"
    FETCHING = "fetching"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"


FINAL: Final = frozenset({UpdateStatus.CONFIRMED, UpdateStatus.ROLLED_BACK, UpdateStatus.FAILED})
OPEN: Final = frozenset(UpdateStatus) - FINAL
_ORDER: Final = (UpdateStatus.REQUESTED, UpdateStatus.SENT, UpdateStatus.FETCHING, UpdateStatus.TRIAL)

REPORT_GRACE_MS: Final = 600_000
"""How long after its expiry the cloud waits for the report of a gateway that may be cut off."""


def may_step(current: UpdateStatus, wanted: UpdateStatus) -> bool:
    """Whether a report of `wanted` moves an update that is `current`."""
    if current in FINAL:
        return False
    return wanted in FINAL or _ORDER.index(wanted) > _ORDER.index(current)


def overdue(status: UpdateStatus, *, now_ms: int, expires_ms: int) -> str | None:
    """Why the cloud ends an update by itself, or None to go on waiting."""
    if status in FINAL:
        return None
    if status is UpdateStatus.REQUESTED and now_ms >= expires_ms:
        return "the gateway did not take it before it expired"
    if now_ms >= expires_ms + REPORT_GRACE_MS:
        return "the gateway reported no end of it; see what the node runs before trying again"
    return None
