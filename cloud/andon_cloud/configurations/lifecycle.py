r"""The life of a node's configuration (docs/protocol.md, Configurations over the network).

    requested -> sent -> trial -> confirmed
        \___________\_______\-> refused | rolled-back | failed

`trial`: the node has taken it as its candidate. `refused`, `rolled-back` and `confirmed` are the node's words, told by its
gateway; a refused document is never sent again (orders/life.py: each order is one try).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from andon_cloud.orders.life import Life


class ConfigurationStatus(StrEnum):
    """Where a configuration is in its life."""

    REQUESTED = "requested"
    SENT = "sent"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"


LIFE: Final = Life(
    way=(ConfigurationStatus.REQUESTED, ConfigurationStatus.SENT, ConfigurationStatus.TRIAL),
    final=frozenset(
        {
            ConfigurationStatus.CONFIRMED,
            ConfigurationStatus.REFUSED,
            ConfigurationStatus.ROLLED_BACK,
            ConfigurationStatus.FAILED,
        }
    ),
    failed=ConfigurationStatus.FAILED,
    tried=ConfigurationStatus.TRIAL,
)
