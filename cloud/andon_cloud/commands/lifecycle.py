r"""The life of a relay command as a pure state machine (docs/protocol.md, Relay commands).

    queued -> sent -> acknowledged -> confirmed
       \________\__________\-> failed
        \________\-> expired

`expired` means never executed, so an acknowledged command can only be confirmed or fail. Reports may be lost, repeated or
late: a step forward may leave out the ones between, and a step backwards or out of a final status changes nothing.
"""

from __future__ import annotations

from enum import StrEnum


class CommandStatus(StrEnum):
    """Where a command is in its life."""

    QUEUED = "queued"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    CONFIRMED = "confirmed"
    EXPIRED = "expired"
    FAILED = "failed"


FINAL = frozenset({CommandStatus.CONFIRMED, CommandStatus.EXPIRED, CommandStatus.FAILED})
OPEN = frozenset(CommandStatus) - FINAL

_STEPS: dict[CommandStatus, frozenset[CommandStatus]] = {
    CommandStatus.QUEUED: frozenset(
        {CommandStatus.SENT, CommandStatus.ACKNOWLEDGED, CommandStatus.EXPIRED, CommandStatus.FAILED}
    ),
    CommandStatus.SENT: frozenset({CommandStatus.ACKNOWLEDGED, CommandStatus.EXPIRED, CommandStatus.FAILED}),
    CommandStatus.ACKNOWLEDGED: frozenset({CommandStatus.CONFIRMED, CommandStatus.FAILED}),
    CommandStatus.CONFIRMED: frozenset(),
    CommandStatus.EXPIRED: frozenset(),
    CommandStatus.FAILED: frozenset(),
}


def may_step(current: CommandStatus, wanted: CommandStatus) -> bool:
    """Whether a report of `wanted` moves a command that is `current`."""
    return wanted in _STEPS[current]


# How long after its expiry the cloud waits for the report of a gateway that was given the command: it may have executed it
# in time and be cut off from the cloud since.
REPORT_GRACE_MS = 60_000


def overdue(
    status: CommandStatus,
    *,
    now_ms: int,
    expires_ms: int,
    updated_ms: int,
    offered: bool,
    confirm_timeout_ms: int,
) -> tuple[CommandStatus, str] | None:
    """What the cloud decides by itself: the new status and the reason, or None to go on waiting.

    Args:
        status: The present status.
        now_ms: The cloud's clock.
        expires_ms: The command's end, by the cloud's clock.
        updated_ms: When the cloud recorded the present status.
        offered: Whether the command was ever written to a gateway's stream. Only one that was not is known to be unexecuted.
        confirm_timeout_ms: How long an acknowledged command may wait for its relay reading.
    """
    match status:
        case CommandStatus.QUEUED if not offered:
            if now_ms >= expires_ms:
                return CommandStatus.EXPIRED, "the gateway was not connected before it expired"
        case CommandStatus.QUEUED | CommandStatus.SENT:
            # A rule's command may be declared long after it ran: its outcome is the next thing that its gateway tells.
            if now_ms >= max(expires_ms, updated_ms) + REPORT_GRACE_MS:
                return CommandStatus.FAILED, "the gateway reported no outcome; read the contact before trying again"
        case CommandStatus.ACKNOWLEDGED:
            if now_ms >= updated_ms + confirm_timeout_ms:
                return CommandStatus.FAILED, f"no relay reading confirmed it within {confirm_timeout_ms // 1000} s"
        case _:
            pass
    return None
