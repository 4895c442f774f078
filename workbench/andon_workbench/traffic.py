"""Relay commands in the demo: through the real API now and then, one at a time per machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from andon_workbench.errors import CloudApiError
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_workbench.cloud_api import CloudApi
    from andon_workbench.world.ledger import Ledger

RELAY = 0
# The contact lies in the run-enable loop: open holds the machine.
HELD, RELEASED = False, True
# Far longer than any hold: the contact moves because of commands, not because a lease ran out.
_LEASE_S = 300
_EXPIRES_S = 60
_LOOK_S = 0.2


@dataclass(slots=True)
class SentCommand:
    """One relay command: when it was issued (host's CLOCK_MONOTONIC), and what became of it."""

    machine: str
    state: bool
    issued_us: int
    id: str = ""
    status: str = "queued"
    detail: str = ""
    contact_us: int | None = None

    @property
    def confirmed(self) -> bool:
        """Whether telemetry has shown the commanded state."""
        return self.status == "confirmed"

    @property
    def latency_ms(self) -> float | None:
        """From the API call to the change of the contact in the register file; None if it did not change."""
        return None if self.contact_us is None else (self.contact_us - self.issued_us) / 1000


class CommandTraffic:
    """An operator per machine who holds it for a moment now and then, and releases it again.

    `pause_s` is the shortest and the longest time between two such moments, in seconds.
    """

    def __init__(
        self, api: CloudApi, ledger: Ledger, machines: Sequence[str], seed: int, pause_s: tuple[float, float]
    ) -> None:
        self.sent: list[SentCommand] = []
        self._api = api
        self._ledger = ledger
        self._pause_s = pause_s
        self._closing = asyncio.Event()
        self._operators = [
            asyncio.create_task(self._operate(machine, seed), name=f"operator {machine}") for machine in machines
        ]

    async def close(self, limit_s: float) -> None:
        """Issue no more; wait until the commands under way are final, `limit_s` at most."""
        self._closing.set()
        _, late = await asyncio.wait(self._operators, timeout=limit_s)
        await self._cancel(late)
        for operator in self._operators:
            if not operator.cancelled():
                operator.result()

    async def abandon(self) -> None:
        """Stop at once."""
        await self._cancel(set(self._operators))

    async def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _operate(self, machine: str, seed: int) -> None:
        rng = Random(f"{seed}/{machine}/operator")  # noqa: S311  a repeatable demo, not secrets
        while not await self._closed_within(rng.uniform(2.0, 6.0)):
            await self._switch(machine, state=HELD)
            await self._closed_within(rng.uniform(0.3, 1.0))
            await self._switch(machine, state=RELEASED)

    async def _closed_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _switch(self, machine: str, *, state: bool) -> None:
        command = SentCommand(machine, state, monotonic_us())
        try:
            issued = await self._api.switch_relay(machine, RELAY, state=state, lease_s=_LEASE_S, expires_s=_EXPIRES_S)
        except CloudApiError:
            # Nobody has promised anything: an operator whose click fails tries again later.
            return
        command.id = issued.id
        self.sent.append(command)
        while not issued.final:
            await asyncio.sleep(_LOOK_S)
            self._note_contact(command)
            try:
                issued = await self._api.command(issued.id)
            except CloudApiError:
                continue
            command.status, command.detail = issued.status, issued.detail
        self._note_contact(command)

    def _note_contact(self, command: SentCommand) -> None:
        if command.contact_us is not None:
            return
        for change in reversed(self._ledger.node(command.machine).contacts):
            if change.time_us < command.issued_us:
                break
            if change.relay == RELAY and change.closed == command.state:
                command.contact_us = change.time_us
