"""The console's view of nodes that cannot report, and their adoption, over the cloud's quarantine and registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from andon_cloud.console.feed import AdoptionRefusedError, FreeMachine, UnknownKeysView, WaitingNode, WaitingView
from andon_cloud.gateways.quarantine_schemas import Adoption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_cloud.gateways.quarantine import Quarantine
    from andon_cloud.registry.schemas import MachineOut

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class WaitingRoom:
    """Reads and adopts; methods raise what the services raise."""

    quarantine: Quarantine

    async def view(self, machines: Sequence[MachineOut]) -> WaitingView:
        """Everybody who waits, and the machines of `machines` that have no node yet."""
        nodes = tuple(
            WaitingNode(
                gateway=item.gateway,
                node=item.node,
                address=item.address.removeprefix("coap://"),
                last_ms=item.last_ms,
                packs=item.packs,
                sent=tuple(item.sent.items())[:_SHOWN],
            )
            for item in await self.quarantine.nodes()
        )
        keys = tuple(
            UnknownKeysView(
                gateway=item.gateway,
                kid=item.kid,
                address=item.address.removeprefix("coap://"),
                last_ms=item.last_ms,
                messages=item.messages,
                node=item.node,
                owner=item.owner,
                owner_gateway=item.owner_gateway,
            )
            for item in await self.quarantine.keys()
        )
        free = tuple(
            FreeMachine(machine.id, machine.name, f"{machine.site} \u203a {machine.area} \u203a {machine.line}")
            for machine in machines
            if not machine.nodes
        )
        return WaitingView(nodes, keys, free)

    async def adopt(self, gateway: str, node: str, machine_id: str, *, reason: str, actor: str) -> None:
        """Mount a waiting node.

        Raises:
            AdoptionRefusedError: the reason is none that can be kept.
        """
        try:
            adoption = Adoption(machine_id=machine_id, reason=reason)
        except ValidationError as error:
            first = error.errors()[0]
            raise AdoptionRefusedError(f"{first['loc'][0]}: {first['msg']}") from error
        await self.quarantine.adopt(gateway, node, adoption, actor)
