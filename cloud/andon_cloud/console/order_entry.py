"""One order to a node in a list, whatever it orders: where it is, what, who, why, and when it came how far."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from andon_cloud.console.dom import Text, icon, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

    from andon_cloud.console.feed import CommandView, ConfigurationView
    from andon_cloud.console.words import Sign

_Status = TypeVar("_Status", bound="StrEnum")


def order_entry(
    order: CommandView | ConfigurationView,
    what: str,
    status: _Status,
    times: Mapping[_Status, int],
    signs: Mapping[_Status, Sign],
    show_time: Callable[[int], None],
) -> None:
    """Add the entry to the list that is open.

    Args:
        order: Whose people's words and last detail are shown.
        what: What is ordered.
        status: Where it is now.
        times: When it reached each status, milliseconds since the epoch.
        signs: Of each status, in the order of an order's life.
        show_time: Adds a time to what is open.
    """
    with tag("article", "entry", data_status=status.value):
        with tag("div", "entry-head"):
            with tag("span", "entry-status"):
                icon(signs[status].icon)
                Text("strong", signs[status].word)
            Text("span", what, "entry-what")
            Text("span", f"by {order.actor}", "entry-who")
        Text("p", f"“{order.reason}”" if order.reason else "", "entry-why")
        with tag("ol", "entry-times", aria_label="Audit times"):
            for step, sign in signs.items():
                if step in times:
                    with tag("li", data_status=step.value):
                        Text("span", sign.word, "entry-step")
                        show_time(times[step])
        if order.detail:
            Text("p", order.detail, "entry-detail")
