"""`andon node config push NODE FILE`: a configuration to the cloud, and its way until the node has said what it makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from andon_workbench.cloud_api import CloudApi
from andon_workbench.node.errors import NodeError
from andon_workbench.node.network_order import CONFIRMED, follow

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class NetworkConfiguration:
    """What is wanted.

    Attributes:
        node: The node's id.
        document: The whole configuration, as it was signed.
        signature: 128 hexadecimal digits, or None where the change needs none.
        reason: Why; kept in the cloud's audit log.
        expires_s: Failed when it is not over after so many seconds.
    """

    node: str
    document: bytes
    signature: str | None
    reason: str
    expires_s: int


async def configure_over_network(
    url: str, token: str | None, wanted: NetworkConfiguration, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Order, and follow until the configuration is over.

    Args:
        url: The cloud's.
        token: For its API.
        wanted: What is wanted.
        show: Told the order as the cloud sees it, again and again.

    Returns:
        The order at its end; its `status` is `confirmed`, `refused`, `rolled-back` or `failed`.

    Raises:
        CloudApiError: The cloud refuses, or is away for a minute. What was ordered goes on without us.
    """
    async with CloudApi(url, token) as api:
        order = await api.order_configuration(
            wanted.node,
            wanted.document,
            signature=wanted.signature,
            reason=wanted.reason,
            expires_s=wanted.expires_s,
        )
        return await follow(order, api.configuration, show)


def require_confirmed(order: dict[str, Any]) -> None:
    """Fail with the reason unless the node runs and has confirmed the document.

    Raises:
        NodeError: Refused, rolled back or failed.
    """
    if order["status"] != CONFIRMED:
        raise NodeError(f"{order['node']}: configuration {order['revision']} {order['status']}: {order['detail']}")
