"""The firmware updates that the cloud has ordered, as the stream tells them and the disk keeps them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from andon_gateway.orders.store import OrderTable, node_label
from andon_gateway.updates.status import FINAL

MAX_BUNDLE_BYTES: Final = 8 << 20


class FirmwareUpdate(BaseModel):
    """One entry of the stream's `updates` event (docs/protocol.md)."""

    model_config = ConfigDict(strict=True, frozen=True)
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]  # goes into a URL path
    node: Annotated[str, AfterValidator(node_label)]
    version: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1, le=MAX_BUNDLE_BYTES)]
    expires_ms: Annotated[int, Field(ge=0, lt=2**53)]
    told: ClassVar[bool] = False  # the node itself says what it fetches

    @property
    def file_name(self) -> str:
        """Name below `/fw`: another content has another name, so no node fetches half of one and half of the other."""
        return f"andon-{self.version}-{self.sha256[:12]}.fw"


class UpdatesEvent(BaseModel):
    """Data of the `updates` event: all updates of this gateway's nodes that are not at their end."""

    model_config = ConfigDict(strict=True)
    updates: list[FirmwareUpdate]


FIRMWARE_UPDATES: Final = OrderTable(
    "firmware_update", ("id", "node", "version", "sha256", "size", "expires_ms"), FirmwareUpdate, FINAL
)
