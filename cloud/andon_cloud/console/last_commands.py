"""The last command of every relay, followed cheaply: after the first look only new and open commands are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, or_, select

from andon_cloud.commands.models import Command
from andon_cloud.commands.service import command_out
from andon_cloud.console.feed import CommandView

if TYPE_CHECKING:
    from andon_cloud.commands.schemas import CommandOut
    from andon_cloud.db.engine import Database

_LATE_COMMITS = 100
"""A database may commit a lower number after a higher one; so many numbers are looked at again."""


class LastCommands:
    """Reads the commands table once for all machines; the cost does not grow with the history."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = -1
        self._last: dict[tuple[str, int], tuple[int, CommandView]] = {}

    async def read(self) -> dict[tuple[str, int], CommandView]:
        """The last command by machine and relay."""
        wanted: ColumnElement[bool]
        if self._newest < 0:
            wanted = Command.number.in_(select(func.max(Command.number)).group_by(Command.machine_id, Command.relay))
        else:
            still_open = [number for number, view in self._last.values() if not view.final]
            wanted = or_(Command.number > self._newest - _LATE_COMMITS, Command.number.in_(still_open))
        async with self._database.reading() as session:
            commands = list(await session.scalars(select(Command).where(wanted).order_by(Command.number)))
        for command in commands:
            key = (command.machine_id, command.relay)
            if key not in self._last or self._last[key][0] <= command.number:
                self._last[key] = (command.number, command_view(command_out(command)))
            self._newest = max(self._newest, command.number)
        self._newest = max(self._newest, 0)
        return {key: view for key, (_, view) in self._last.items()}


def command_view(command: CommandOut) -> CommandView:
    """A command as the console shows it."""
    created_ms = min(command.times.values(), default=0)
    return CommandView(
        id=command.id,
        relay=command.relay,
        state=command.state,
        status=command.status,
        lease_s=command.lease_s,
        reason=command.reason,
        actor=command.actor,
        created_ms=created_ms,
        times=command.times,
        detail=command.detail,
    )
