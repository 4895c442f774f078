"""What a gateway is given on its stream. A command is marked before the first byte of it leaves.

So a command that expires unmarked was certainly never executed, and one that is marked is offered again after a reconnect
even when it has expired: the gateway then tells what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from andon_cloud.commands.lifecycle import OPEN, CommandStatus
from andon_cloud.commands.models import Command
from andon_cloud.commands.schemas import CommandEvent

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncSession

_OPEN = sorted(status.value for status in OPEN)


@dataclass(frozen=True, slots=True)
class Offer:
    """An open command as its gateway gets it."""

    event: CommandEvent
    was_offered: bool


async def open_offers(session: AsyncSession, gateway_id: str) -> list[Offer]:
    """Every command of a gateway that is not yet final, oldest first."""
    found = await session.scalars(
        select(Command).where(Command.gateway_id == gateway_id, Command.status.in_(_OPEN)).order_by(Command.number)
    )
    return [Offer(_event(command), _was_offered(command)) for command in found]


async def mark_offered(session: AsyncSession, command_ids: Collection[str], now_ms: int) -> set[str]:
    """Mark commands as given to their gateway; those that expired in the meantime are left out of the answer."""
    marked = await session.scalars(
        update(Command)
        .where(
            Command.id.in_(command_ids),
            Command.status == CommandStatus.QUEUED,
            Command.expires_ms > now_ms,
        )
        .values(offered_ms=now_ms)
        .returning(Command.id)
    )
    return set(marked)


def _was_offered(command: Command) -> bool:
    # Whoever reports on a command has it, however it came there.
    return command.offered_ms is not None or command.status != CommandStatus.QUEUED


def _event(command: Command) -> CommandEvent:
    return CommandEvent(
        id=command.id,
        node=command.node_id,
        relay=command.relay,
        state=command.state,
        lease_s=command.lease_s,
        expires_ms=command.expires_ms,
    )
