"""The nodes' keys at the gateway: as the cloud sends them, kept on disk with the sender sequence numbers in steps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

from andon_gateway.errors import StorageUnavailable
from andon_gateway.nodes.strangers import Strangers
from andon_gateway.security.oscore import MAX_ID_BYTES, MAX_NUMBER, Credential, SecurityContext
from andon_gateway.vocabulary import is_node_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from andon_gateway.spool.database import GroupCommit

log = logging.getLogger(__name__)

STEP: Final = 1024
LOW_WATER: Final = 256  # numbers left when the next step is ordered
# The first number of new keys. Our record of used numbers can be lost with the disk, or the node can come from another gateway
# with keys that were used there; a beginning that grows by 1,024 a second lies above all that was used before.
NUMBERS_PER_S: Final = 1024
NUMBERS_SINCE_S: Final = 1_735_689_600  # 2025-01-01 UTC; 2^40 numbers last until 2059
MIN_SECRET_BYTES: Final = 16
MAX_SALT_BYTES: Final = 64


def _label(text: str) -> str:
    if not is_node_id(text):
        raise ValueError("expected a DNS label")
    return text


def _hex(least: int, most: int) -> AfterValidator:
    def check(text: str) -> str:
        try:
            size = len(bytes.fromhex(text))
        except ValueError:
            raise ValueError("expected hexadecimal digits") from None
        if not least <= size <= most:
            raise ValueError(f"expected {least} to {most} bytes in hexadecimal digits")
        return text

    return AfterValidator(check)


class NodeKeys(BaseModel):
    """One node's keys in the `credentials` event; ids as the node has them: its sender id, and its recipient id, which is ours."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)
    secret: Annotated[str, _hex(MIN_SECRET_BYTES, 32)]
    salt: Annotated[str, _hex(0, MAX_SALT_BYTES)]
    sender_id: Annotated[str, _hex(0, MAX_ID_BYTES)]
    recipient_id: Annotated[str, _hex(0, MAX_ID_BYTES)]


class CredentialsEvent(BaseModel):
    """Data of the stream's `credentials` event: the whole table of this gateway."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)
    version: int
    nodes: dict[Annotated[str, AfterValidator(_label)], NodeKeys]

    def credentials(self) -> dict[str, Credential]:
        """The table with bytes for digits."""
        return {
            node: Credential(
                node,
                bytes.fromhex(keys.secret),
                bytes.fromhex(keys.salt),
                bytes.fromhex(keys.sender_id),
                bytes.fromhex(keys.recipient_id),
            )
            for node, keys in self.nodes.items()
        }


class StoredNumbers:
    """Sender sequence numbers of one node's keys: only numbers below the stored bound are given out (RFC 8613 B.1.1).

    Args:
        first: The next number; below `bound`.
        bound: Durable: a restart begins here.
        order: Makes a higher bound durable and then calls `extend`.
    """

    def __init__(self, first: int, bound: int, order: Callable[[int], None]) -> None:
        self._next = first
        self._bound = bound
        self._order = order
        self._ordered = bound

    def take(self) -> int:
        """Return the next number.

        Raises:
            StorageUnavailable: The disk has not taken the next bound yet, or all numbers are used.
        """
        if self._bound - self._next <= LOW_WATER and self._ordered == self._bound < MAX_NUMBER - STEP:
            self._ordered = self._bound + STEP
            self._order(self._ordered)
        if self._next >= self._bound:
            raise StorageUnavailable("no sender sequence number is safe to use now; try again")
        self._next += 1
        return self._next - 1

    def extend(self, bound: int | None) -> None:
        """The bound is durable; None: the disk failed, it is ordered again with the next number."""
        if bound is None:
            self._ordered = self._bound
        else:
            self._bound = bound


class KeyRing:
    """All security contexts, by node and by kid. Used in the event loop only."""

    def __init__(self, database: GroupCommit, connection: sqlite3.Connection) -> None:
        self._database = database
        self._loaded: list[tuple[Credential, int]] = [
            (Credential(*row[:5]), row[5])
            for row in connection.execute("SELECT node, secret, salt, node_id, gateway_id, bound FROM oscore_key")
        ]
        self._by_node: dict[str, SecurityContext] = {}
        self._by_kid: dict[bytes, SecurityContext] = {}
        self.refused: Counter[str] = Counter()
        self.challenges = 0
        self.strangers = Strangers()
        self.version = 0
        """Of the table: another number, perhaps other keys."""
        self.on_change: list[Callable[[], None]] = []
        """Called in the event loop after each new version."""

    async def open(self) -> None:
        """Reserve numbers for the keys on disk; before this nothing can be protected.

        Raises:
            StorageUnavailable: The disk takes no data.
        """

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE oscore_key SET bound = bound + ?", (STEP,))

        await asyncio.wrap_future(self._database.run(change))
        for credential, bound in self._loaded:
            self._put(credential, bound)
        self._loaded = []
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        for call in self.on_change:
            call()

    def contexts(self) -> Iterable[SecurityContext]:
        """Of all nodes that have keys."""
        return self._by_node.values()

    def __len__(self) -> int:
        return len(self._by_node)

    def of_node(self, node: str) -> SecurityContext | None:
        """The context of a node that has keys."""
        return self._by_node.get(node)

    def of_kid(self, kid: bytes) -> SecurityContext | None:
        """The context that a request's kid names."""
        return self._by_kid.get(kid)

    async def replace(self, event: CredentialsEvent) -> None:
        """Take a new table: keys that are not in it are worth nothing from now on.

        Raises:
            StorageUnavailable: Nothing changed.
        """
        table = event.credentials()
        fresh = [
            credential
            for node, credential in table.items()
            if (known := self._by_node.get(node)) is None or known.credential != credential
        ]
        gone = [node for node in self._by_node if node not in table]
        first = max(0, int(time.time() - NUMBERS_SINCE_S) * NUMBERS_PER_S)
        rows = [(c.node, c.secret, c.salt, c.node_id, c.gateway_id, first + STEP) for c in fresh]

        def change(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM oscore_key WHERE node = ?", [(node,) for node in gone])
            connection.executemany("INSERT OR REPLACE INTO oscore_key VALUES (?, ?, ?, ?, ?, ?)", rows)

        if fresh or gone:
            await asyncio.wrap_future(self._database.run(change))
            log.info("keys of nodes: new=%d gone=%d", len(fresh), len(gone))
        self._forget([*gone, *(credential.node for credential in fresh)])
        for credential in fresh:
            self._put(credential, first)
        if fresh or gone:
            self._changed()

    def _forget(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            context = self._by_node.pop(node, None)
            if context is not None and self._by_kid.get(context.credential.node_id) is context:
                del self._by_kid[context.credential.node_id]

    def _put(self, credential: Credential, first: int) -> None:
        def order(bound: int) -> None:
            def change(connection: sqlite3.Connection) -> None:
                query = "UPDATE oscore_key SET bound = ? WHERE node = ? AND secret = ?"
                connection.execute(query, (bound, credential.node, credential.secret))

            def done(_result: None, error: StorageUnavailable | None) -> None:
                numbers.extend(bound if error is None else None)

            self._database.submit(change, done)

        numbers = StoredNumbers(first, first + STEP, order)
        context = SecurityContext(credential, numbers)
        self._by_node[credential.node] = self._by_kid[credential.node_id] = context
        self.strangers.forget(credential.node_id)
