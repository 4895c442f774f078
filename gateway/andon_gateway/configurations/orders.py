"""The configurations that the cloud has ordered, as the stream tells them and the disk keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from andon_gateway.configurations.status import FINAL
from andon_gateway.orders.store import OrderStore, OrderTable, node_label

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import Future

    from andon_gateway.spool.database import GroupCommit

MAX_DOCUMENT_BYTES: Final = 8192
"""What a node takes in blocks (docs/protocol.md)."""


class Configuration(BaseModel):
    """One entry of the stream's `configurations` event (docs/protocol.md)."""

    model_config = ConfigDict(strict=True, frozen=True)
    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]  # goes into a URL path
    node: Annotated[str, AfterValidator(node_label)]
    revision: Annotated[int, Field(ge=1, le=1 << 29)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1, le=MAX_DOCUMENT_BYTES)]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")] | None
    expires_ms: Annotated[int, Field(ge=0, lt=2**53)]
    told: bool = False


class ConfigurationsEvent(BaseModel):
    """Data of the `configurations` event: all configurations of this gateway's nodes that are not at their end."""

    model_config = ConfigDict(strict=True)
    configurations: list[Configuration]


_TABLE: Final = OrderTable(
    "configuration",
    ("id", "node", "revision", "sha256", "size", "signature", "expires_ms"),
    Configuration,
    FINAL,
)


class ConfigurationStore(OrderStore[Configuration]):
    """The orders, and each one's document once it was fetched."""

    def __init__(self, database: GroupCommit) -> None:
        super().__init__(database, _TABLE)

    def keep(self, order: str, document: bytes) -> Future[None]:
        """Put a fetched document beside its order."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE configuration SET document = ? WHERE id = ?", (document, order))

        return self.database.run(change)

    def document(self, order: str) -> Future[bytes | None]:
        """The document, None before it is here."""

        def change(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT document FROM configuration WHERE id = ?", (order,)).fetchone()
            return None if row is None or row[0] is None else bytes(row[0])

        return self.database.run(change)
