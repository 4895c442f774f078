"""Watches through the query API when points become visible."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from andon_workbench.cloud_api import channel_of
from andon_workbench.errors import CloudApiError
from andon_workbench.latency import Sightings
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from andon_workbench.cloud_api import CloudApi

# One query for all nodes; the period adds up to itself to each latency (see latency.py).
PERIOD_S = 0.025


class VisibilityProbe:
    """Asks for the newest temperatures of all nodes again and again, and notes when each was first there."""

    def __init__(self, api: CloudApi) -> None:
        self.sightings = Sightings()
        self._api = api
        self._watching = asyncio.create_task(self._watch(), name="latency probe")

    async def stop(self) -> None:
        """Stop watching."""
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    async def _watch(self) -> None:
        while True:
            try:
                newest = await self._api.latest("temperature")
            except CloudApiError:
                newest = []
            now_us = monotonic_us()
            for sample in newest:
                if sample.field == "celsius":
                    self.sightings.saw(channel_of(sample.tags), sample.time_ms, now_us)
            await asyncio.sleep(PERIOD_S)
