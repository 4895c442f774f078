"""The services that routes work with; `app.py` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from andon_cloud.auth import Access
    from andon_cloud.commands.service import Commands
    from andon_cloud.configurations.service import Configurations
    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.gateways.quarantine import Quarantine
    from andon_cloud.gateways.stream import GatewayStream
    from andon_cloud.registry.service import Registry
    from andon_cloud.rules.service import Rules
    from andon_cloud.settings import Settings
    from andon_cloud.telemetry.store import TelemetryStore
    from andon_cloud.updates.service import Updates


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the app, found at `app.state.services`."""

    settings: Settings
    database: Database
    store: TelemetryStore
    notifier: Notifier
    registry: Registry
    commands: Commands
    rules: Rules
    quarantine: Quarantine
    updates: Updates
    configurations: Configurations
    streams: GatewayStream
    access: Access
    metrics: CollectorRegistry


def of(request: Request) -> Services:
    """The services of the app that a request belongs to."""
    services: Services = request.app.state.services
    return services


Wired = Annotated[Services, Depends(of)]
