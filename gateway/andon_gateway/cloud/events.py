"""Who takes which event of the cloud's stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_gateway.commands.queue import RelayCommand
from andon_gateway.configurations.orders import Configuration, ConfigurationsEvent
from andon_gateway.rules.pull import RulesEvent, RulesPull
from andon_gateway.security.oscore_keys import CredentialsEvent, KeyRing
from andon_gateway.updates.orders import FirmwareUpdate, UpdatesEvent
from andon_gateway.uplink.assets import AssetsEvent, AssetTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from andon_gateway.commands.relay import CommandRunner
    from andon_gateway.orders.runner import OrderRunner

Taker = Callable[[str], Awaitable[None]]
"""Acts on an event's data, JSON; raises pydantic's ValidationError for one that cannot be read."""


@dataclass(frozen=True, slots=True)
class StreamTakers:
    """The parts that the cloud's events are for; `on_assets` is called after a new table of assets is in force."""

    assets: AssetTable
    on_assets: Callable[[], None]
    keys: KeyRing
    rules: RulesPull
    commands: CommandRunner
    updates: OrderRunner[FirmwareUpdate]
    configurations: OrderRunner[Configuration]

    def by_event(self) -> Mapping[str, Taker]:
        """A taker for each event by its name (docs/protocol.md)."""
        return {
            "assets": self._assets,
            "credentials": self._credentials,
            "rules": self._rules,
            "command": self._command,
            "updates": self._updates,
            "configurations": self._configurations,
        }

    async def _assets(self, data: str) -> None:
        await asyncio.wrap_future(self.assets.replace(AssetsEvent.model_validate_json(data)))
        self.on_assets()

    async def _credentials(self, data: str) -> None:
        await self.keys.replace(CredentialsEvent.model_validate_json(data))

    async def _rules(self, data: str) -> None:
        self.rules.nudge(RulesEvent.model_validate_json(data))

    async def _command(self, data: str) -> None:
        await self.commands.take(RelayCommand.model_validate_json(data))

    async def _updates(self, data: str) -> None:
        await self.updates.take(UpdatesEvent.model_validate_json(data).updates)

    async def _configurations(self, data: str) -> None:
        await self.configurations.take(ConfigurationsEvent.model_validate_json(data).configurations)
