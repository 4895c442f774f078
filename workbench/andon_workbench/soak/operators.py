"""Operators who hold machines during the soak, and do not always release them: that is what leases are for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from andon_workbench.errors import CloudApiError
from andon_workbench.soak.outputs import LeasedCommand
from andon_workbench.traffic import HELD, RELAY, RELEASED
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_workbench.cloud_api import CloudApi

_EXPIRES_S = 300
_LOOK_S = 20.0
_LEASE_S = (60, 600)
_PAUSE_S = (300.0, 3000.0)
# Pauses are shorter in a short soak, so that every node is switched a few times.
_PAUSES_AT_LEAST = 6


@dataclass(slots=True)
class Issued:
    """What one node was told: the commands that switch on, how many of all commands were confirmed, and when each was at its end."""

    on: list[LeasedCommand] = field(default_factory=list)
    commands: int = 0
    confirmed: int = 0
    ends_us: list[int] = field(default_factory=list)


class Operators:
    """One per node."""

    def __init__(self, api: CloudApi, nodes: Sequence[str], seed: int, seconds: float) -> None:
        self.issued = {node: Issued() for node in nodes}
        self._api = api
        self._shorter = min(1.0, seconds / _PAUSES_AT_LEAST / _PAUSE_S[1])
        self._closing = asyncio.Event()
        self._tasks = [asyncio.create_task(self._operate(node, seed), name=f"operator {node}") for node in nodes]

    async def close(self, limit_s: float) -> None:
        """Issue no more; wait until the commands under way are final, `limit_s` at most."""
        self._closing.set()
        await asyncio.wait(self._tasks, timeout=limit_s)
        await self.abandon()

    async def abandon(self) -> None:
        """Stop at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _operate(self, node: str, seed: int) -> None:
        rng = Random(f"{seed}/{node}/soak operator")  # noqa: S311  a repeatable soak, not secrets
        while not await self._closed_within(rng.uniform(*_PAUSE_S) * self._shorter):
            lease_s = rng.randint(*_LEASE_S)
            await self._switch(node, state=HELD, lease_s=lease_s)
            if rng.random() < 0.5:  # noqa: PLR2004  every second one switches off before the lease does
                await self._closed_within(rng.uniform(0.2, 0.8) * lease_s)
                await self._switch(node, state=RELEASED, lease_s=lease_s)
            else:
                await self._closed_within(lease_s)

    async def _closed_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _switch(self, node: str, *, state: bool, lease_s: int) -> None:
        issued = self.issued[node]
        now_us = monotonic_us()
        note = LeasedCommand(now_us, _EXPIRES_S + _LOOK_S, lease_s)
        if state == HELD:
            # Noted even if the call fails: the cloud may have taken the command before it was killed.
            issued.on.append(note)
        try:
            command = await self._api.switch_relay(node, RELAY, state=state, lease_s=lease_s, expires_s=_EXPIRES_S)
        except CloudApiError:
            return
        issued.commands += 1
        while not command.final:
            await asyncio.sleep(_LOOK_S)
            try:
                command = await self._api.command(command.id)
            except CloudApiError:
                continue
        note.final_us = monotonic_us()
        issued.ends_us.append(note.final_us)
        issued.confirmed += command.status == "confirmed"
