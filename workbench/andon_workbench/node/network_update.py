"""`andon node update NODE --bundle FILE`: a signed bundle to the cloud, an order for the node, and its way until the end is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from andon_workbench.bundle.format import UNSIGNED, decode
from andon_workbench.cloud_api import CloudApi
from andon_workbench.node.errors import NodeError
from andon_workbench.node.network_order import CONFIRMED, follow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class NetworkUpdate:
    """What is wanted.

    Attributes:
        node: The node's id.
        bundle: The signed bundle.
        reason: Why; kept in the cloud's audit log.
        expires_s: Failed when it is not over after so many seconds.
    """

    node: str
    bundle: bytes
    reason: str
    expires_s: int


def read_bundle(path: Path) -> bytes:
    """Read a bundle and check what can be checked here.

    Raises:
        NodeError: It cannot be read or is not signed.
        BundleError: It is no whole bundle.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NodeError(f"--bundle {path}: {error.strerror}; make one with: andon firmware build") from None
    if decode(data).signature == UNSIGNED:
        raise NodeError(f"--bundle {path}: not signed; sign it with: andon firmware sign {path} --key site.key")
    return data


async def update_over_network(
    url: str, token: str | None, wanted: NetworkUpdate, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Upload, order, and follow until the update is over.

    Args:
        url: The cloud's.
        token: For its API.
        wanted: What is wanted.
        show: Told the update as the cloud sees it, again and again.

    Returns:
        The update at its end; its `status` is `confirmed`, `rolled-back` or `failed`.

    Raises:
        CloudApiError: The cloud refuses, or is away for a minute. What was ordered goes on without us.
    """
    async with CloudApi(url, token) as api:
        firmware = await api.upload_firmware(wanted.bundle)
        update = await api.order_update(
            wanted.node, firmware["sha256"], reason=wanted.reason, expires_s=wanted.expires_s
        )
        return await follow(update, api.update, show)


def require_confirmed(update: dict[str, Any]) -> None:
    """Fail with the reason unless the node runs and has confirmed the new version.

    Raises:
        NodeError: Rolled back or failed.
    """
    if update["status"] != CONFIRMED:
        raise NodeError(f"{update['node']}: the update to {update['version']} {update['status']}: {update['detail']}")
