"""The live one-line status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

_PERIOD_S = 0.25
_PLAIN_PERIOD_S = 5.0


async def show_status(console: Console, status: Callable[[], str]) -> None:
    """Show `status()` for ever: one line that renews itself on a terminal, a line every five seconds in a log."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_PLAIN_PERIOD_S)
            console.print(status(), style="dim")
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(Text(status(), no_wrap=True, overflow="ellipsis"), refresh=True)
            await asyncio.sleep(_PERIOD_S)
