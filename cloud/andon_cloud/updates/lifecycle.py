r"""The life of a node's firmware update (docs/protocol.md, Firmware updates).

    requested -> sent -> fetching -> trial -> confirmed
        \___________\________\_________\-> rolled-back | failed

The gateway tells what the node says. A node that fails its trial and is told again goes back to fetching nowhere: each order
is one try (orders/life.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from andon_cloud.orders.life import Life


class UpdateStatus(StrEnum):
    """Where an update is in its life."""

    REQUESTED = "requested"
    SENT = "sent"
    FETCHING = "fetching"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"


LIFE: Final = Life(
    way=(UpdateStatus.REQUESTED, UpdateStatus.SENT, UpdateStatus.FETCHING, UpdateStatus.TRIAL),
    final=frozenset({UpdateStatus.CONFIRMED, UpdateStatus.ROLLED_BACK, UpdateStatus.FAILED}),
    failed=UpdateStatus.FAILED,
    tried=UpdateStatus.TRIAL,
)
