"""`andon node provision`: registers the node, fetches its keys, writes configuration and keys to the board, checks them."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from andon_workbench.cloud_api import CloudApi
from andon_workbench.errors import CloudApiError
from andon_workbench.node.config import CONFIG, activate_config, render
from andon_workbench.node.errors import NodeError, VerifyError
from andon_workbench.node.label import Label, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from andon_workbench.node.link import BoardLink

# The node's OSCORE keys on its flash (docs/protocol.md).
KEY_FILE: Final = "keys.json"
# The public key that bundles and interlocks must be signed with.
SITE_KEY_FILE: Final = "site_key.hex"
_SITE_KEY_BYTES: Final = 32
# How often the node has started (docs/protocol.md); a new board begins above all that any board of its name has reached.
BOOT_FILE: Final = "boot.txt"
_BOOTS_SINCE_S: Final = 1_735_689_600  # 2025-01-01 UTC; one start a second lasts until 2161 in 32 bits
# Writes to a real board's flash wear it out; ten seconds a pack are fourteen years at one sample a second (docs/firmware.md).
REAL_PACK_MS: Final = 10_000
_EMULATED: Final = "linux"
_KEY_FIELDS: Final = ("secret", "salt", "sender_id", "recipient_id")
_NOT_HERE: Final = ("404", "405")


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who the node is to be, and which machine and gateway it belongs to."""

    node: str
    machine: str
    gateway_id: str


class NodeKeys:
    """The keys as the board keeps them. Its representation shows nothing, so that no log and no traceback can."""

    __slots__ = ("_data",)

    def __init__(self, answer: Mapping[str, Any]) -> None:
        """Take the cloud's answer.

        Raises:
            NodeError: a field is missing.
        """
        missing = [field for field in _KEY_FIELDS if not isinstance(answer.get(field), str)]
        if missing:
            raise NodeError(f"the cloud's credentials lack {', '.join(missing)}: is the cloud newer than this andon?")
        self._data = (json.dumps({field: answer[field] for field in _KEY_FIELDS}) + "\n").encode()

    def __repr__(self) -> str:
        return f"NodeKeys({self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """What may be shown."""
        return fingerprint(hashlib.sha256(self._data).digest())

    def reveal(self) -> bytes:
        """The key file's content."""
        return self._data


async def register(url: str, token: str | None, identity: NodeIdentity) -> NodeKeys | None:
    """Register the node unless it is, and have the cloud make new keys for it.

    Returns:
        The keys; None when this cloud does not make any.

    Raises:
        NodeError: the node is registered on another machine, or at another gateway.
        CloudApiError: the cloud refuses, or cannot be reached.
    """
    async with CloudApi(url, token) as api:
        known = next((node for node in await api.nodes() if node["id"] == identity.node), None)
        if known is None:
            await api.register_node(identity.node, identity.machine, identity.gateway_id)
        else:
            _require_same(known, identity)
        try:
            return NodeKeys(await api.make_credentials(identity.node))
        except CloudApiError as error:
            if any(f": {status} " in str(error) for status in _NOT_HERE):
                return None
            raise


def _require_same(known: Mapping[str, Any], identity: NodeIdentity) -> None:
    """Its keys go to the gateway that the registry names, and no other could open a message of the node."""
    for what, here, wanted in (
        ("on machine", known["machine_id"], identity.machine),
        ("at gateway", known["gateway_id"], identity.gateway_id),
    ):
        if here != wanted:
            raise NodeError(
                f"{identity.node} is registered {what} {here}, not {wanted}: "
                f"move it first (PATCH /api/v1/nodes/{identity.node}), or choose another --node"
            )


def write_identity(
    board: BoardLink, document: dict[str, Any], keys: NodeKeys | None, site_key: bytes | None = None
) -> dict[str, bytes]:
    """Write the keys, activate the staged configuration, and read both back by hash.

    Returns:
        SHA-256 of each file as found on the board.

    Raises:
        VerifyError: what is on the board is not what was sent.
    """
    seed_boot_number(board, time.time())
    wanted = {}
    if keys is not None:
        wanted[KEY_FILE] = keys.reveal()
        board.replace(KEY_FILE, keys.reveal())
    if site_key is not None:
        wanted[SITE_KEY_FILE] = site_key
        board.replace(SITE_KEY_FILE, site_key)
    activate_config(board)
    wanted[CONFIG] = render(document)
    found = {path: board.sha256(path) for path in wanted}
    for path, data in wanted.items():
        if found[path] != hashlib.sha256(data).digest():
            raise VerifyError(f"{path}: the board holds something else than was sent; provision again")
    return found


def seed_boot_number(board: BoardLink, now_s: float) -> int:
    """Lift the board's boot number to the seconds since 2025, unless it is higher; return what it is now.

    The gateway knows packs by (node, boot, seq) for ever. A board that takes another one's place, or comes back to it, must not
    begin with numbers that were used: its packs would be taken for duplicates and lost.

    Raises:
        VerifyError: what is on the board is not what was sent.
    """
    try:
        number = int(board.read(BOOT_FILE))
    except (FileNotFoundError, ValueError):
        number = 0
    seed = max(number, int(now_s) - _BOOTS_SINCE_S)
    if seed != number:
        data = str(seed).encode()
        board.replace(BOOT_FILE, data)
        if board.sha256(BOOT_FILE) != hashlib.sha256(data).digest():
            raise VerifyError(f"{BOOT_FILE}: the board holds something else than was sent; provision again")
    return seed


def spare_flash(board: BoardLink, document: dict[str, Any]) -> None:
    """Let a real board write packs less often, unless the document says how often; an emulated one has no flash to wear out."""
    if "pack_ms" not in document and board.evaluate("__import__('sys').platform") != _EMULATED:
        document["pack_ms"] = REAL_PACK_MS


def read_site_key(path: Path) -> bytes:
    """Read the site's public Ed25519 key, 64 hexadecimal digits, as the node keeps it.

    Raises:
        NodeError: it is something else.
    """
    try:
        text = path.read_text().strip()
        size = len(bytes.fromhex(text))
    except (OSError, ValueError):
        size = 0
    if size != _SITE_KEY_BYTES:
        raise NodeError(f"--site-key {path}: expected a file with the public key, 64 hexadecimal digits")
    return text.encode()


def label_of(identity: NodeIdentity, keys: NodeKeys | None) -> Label:
    """The label for the node's housing."""
    return Label(identity.node, identity.machine, keys.fingerprint if keys is not None else "none")
