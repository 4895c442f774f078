"""Where each node is mounted: the cloud's table, kept on disk so that the uplink works before the cloud is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from andon_gateway.uplink.lineprotocol import Asset
from andon_gateway.vocabulary import is_node_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from concurrent.futures import Future

    from andon_gateway.spool.database import Change, GroupCommit


def _label(text: str) -> str:
    if not is_node_id(text):
        raise ValueError("expected a DNS label")
    return text


_Label = Annotated[str, AfterValidator(_label)]


class AssetPlace(BaseModel):
    """One node's place in the `assets` event; unknown keys are ignored, for newer clouds."""

    model_config = ConfigDict(strict=True)
    site: _Label
    area: _Label
    line: _Label
    machine: _Label


class AssetsEvent(BaseModel):
    """Data of the stream's `assets` event: the whole table."""

    model_config = ConfigDict(strict=True)
    version: int
    nodes: dict[_Label, AssetPlace]


class AssetTable:
    """The last table that the cloud sent. Readers take a snapshot; a new table replaces the old one whole."""

    def __init__(self, database: GroupCommit, connection: sqlite3.Connection) -> None:
        self._database = database
        rows = connection.execute("SELECT node, site, area, line, machine FROM asset")
        self._snapshot: tuple[int, Mapping[str, Asset]] = (0, {row[0]: Asset(*row[1:]) for row in rows})
        self.on_replace: list[Change[None]] = []
        """Called in the writer thread, in the transaction of a new table."""

    def snapshot(self) -> tuple[int, Mapping[str, Asset]]:
        """A number that changes with every new table, and the table."""
        return self._snapshot

    @property
    def received(self) -> bool:
        """Whether the cloud has ever sent a table, in this run or, if it had nodes, in an earlier one."""
        return self._snapshot[0] > 0 or bool(self._snapshot[1])

    def replace(self, event: AssetsEvent) -> Future[None]:
        """Take a new table; the future is settled when it is durable."""
        table = {node: Asset(place.site, place.area, place.line, place.machine) for node, place in event.nodes.items()}

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM asset")
            rows = [(node, place.site, place.area, place.line, place.machine) for node, place in table.items()]
            connection.executemany("INSERT INTO asset VALUES (?, ?, ?, ?, ?)", rows)
            for hook in self.on_replace:
                hook(connection)

        if table != self._snapshot[1]:
            self._snapshot = (self._snapshot[0] + 1, table)
        return self._database.run(change)
