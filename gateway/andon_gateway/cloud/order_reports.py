"""Tells the cloud what became of its orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from andon_gateway.cloud.delivery import ReportDelivery

if TYPE_CHECKING:
    import httpx

    from andon_gateway.orders.store import OrderReport, OrderStore


def order_reports(
    client: httpx.AsyncClient, kind: str, path: str, store: OrderStore[Any]
) -> ReportDelivery[OrderReport]:
    """The reports about the orders of one kind.

    Args:
        client: HTTP client with base address and token.
        kind: For people and metrics.
        path: Of the orders in the cloud's API for this gateway.
        store: The orders.
    """

    async def post(report: OrderReport) -> httpx.Response:
        body = {"state": report.state, "at_ms": report.at_ms, "detail": report.detail}
        return await client.post(f"{path}/{report.order}/events", json=body)

    return ReportDelivery(kind, store, post)
