"""Following an order for a node, an update or a configuration, until the cloud says how it ended."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from andon_workbench.errors import CloudApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONFIRMED: Final = "confirmed"
FINAL: Final = frozenset({CONFIRMED, "refused", "rolled-back", "failed"})
_LOOK_S: Final = 1.0
_CLOUD_AWAY_S: Final = 60.0


async def follow(
    order: dict[str, Any], look: Callable[[str], Awaitable[dict[str, Any]]], show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Ask again and again until the order is at its end.

    Args:
        order: As the cloud took it.
        look: Asks the cloud for an order by its id.
        show: Told the order as the cloud sees it, each time.

    Raises:
        CloudApiError: The cloud refuses, or is away for a minute. What was ordered goes on without us.
    """
    show(order)
    heard_s = time.monotonic()
    while order["status"] not in FINAL:
        await asyncio.sleep(_LOOK_S)
        try:
            order = await look(order["id"])
        except CloudApiError:
            if time.monotonic() - heard_s > _CLOUD_AWAY_S:
                raise
            continue
        heard_s = time.monotonic()
        show(order)
    return order
