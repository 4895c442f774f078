"""How far an order has come. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """An order has come so far; a final state ends it.

    Attributes:
        state: One of the order's states (docs/protocol.md).
        detail: For people: what the node said, or why it is over.
    """

    state: str
    detail: str = ""
