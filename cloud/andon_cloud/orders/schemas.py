"""What the API shows and takes of every kind of order."""

from __future__ import annotations

from typing import Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from andon_cloud.identifiers import EpochMs

MAX_DETAIL: Final = 500


def one_short_line(text: str) -> str:
    """What a gateway remarks, on one line: a report must not be lost because of its remark."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:MAX_DETAIL]


Detail: Final = AfterValidator(one_short_line)


class OrderAuditOut(BaseModel):
    """One entry of an order's audit log."""

    model_config = ConfigDict(from_attributes=True)

    status: str
    applied: bool = Field(description="false: a repeated or late report, which changed nothing")
    actor: str
    reason: str
    at_ms: EpochMs = Field(description="When it happened, by the actor's clock")
    recorded_ms: EpochMs = Field(description="When the cloud wrote it down")
