"""The composition: settings in, one FastAPI app out."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from andon_cloud import problems
from andon_cloud.auth import Access, require_person
from andon_cloud.commands import routes as command_routes
from andon_cloud.commands.metrics import CommandMetrics
from andon_cloud.commands.service import Commands
from andon_cloud.configurations import routes as configuration_routes
from andon_cloud.configurations import service as configurations
from andon_cloud.configurations.service import Configurations
from andon_cloud.db.engine import Database
from andon_cloud.gateways import node_reports, quarantine_routes
from andon_cloud.gateways import routes as gateway_routes
from andon_cloud.gateways.notifier import Notifier
from andon_cloud.gateways.quarantine import Quarantine
from andon_cloud.gateways.stream import GatewayStream
from andon_cloud.identifiers import Clock, system_clock
from andon_cloud.loopback import LoopbackNamesOnly
from andon_cloud.orders.node_orders import NodeOrders
from andon_cloud.registry import routes as registry_routes
from andon_cloud.registry.service import Registry
from andon_cloud.rules import routes as rule_routes
from andon_cloud.rules.service import Rules
from andon_cloud.services import Services, Wired
from andon_cloud.telemetry.embedded import EmbeddedStore
from andon_cloud.telemetry.query_api import query_router
from andon_cloud.telemetry.store import StoreUnavailableError, TelemetryStore
from andon_cloud.telemetry.write_api import Authenticate, write_router
from andon_cloud.updates import routes as update_routes
from andon_cloud.updates import service as updates
from andon_cloud.updates.service import Updates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from andon_cloud.settings import Settings

_log = logging.getLogger(__name__)

_TAGS = [
    {"name": "machines", "description": "Machines and their place in the plant (ISA-95)"},
    {"name": "nodes", "description": "The boards on the machines"},
    {"name": "gateways", "description": "The gateways that serve the nodes"},
    {"name": "commands", "description": "Relay commands, from the wish to the proof"},
    {"name": "rules", "description": "Alarm rules that gateways evaluate, also while the cloud is away"},
    {"name": "firmware", "description": "Signed bundles, and the update of a node up to what the node says in the end"},
    {
        "name": "configurations",
        "description": "Configurations of nodes, from the document to what the node says in the end",
    },
    {"name": "gateway channel", "description": "What a gateway calls: its event stream and its reports"},
    {"name": "telemetry", "description": "What the nodes measured"},
    {"name": "InfluxDB v2", "description": "Telemetry in, as any InfluxDB v2 client writes it"},
    {"name": "operations", "description": "Health and metrics"},
]


def create_app(settings: Settings, *, clock: Clock = system_clock, store: TelemetryStore | None = None) -> FastAPI:
    """Wire the cloud.

    Args:
        settings: Validated settings.
        clock: Milliseconds since the epoch; tests pass their own.
        store: A telemetry store instead of the one that the settings name.
    """
    services = _services(settings, clock, store or telemetry_store(settings))
    app = FastAPI(
        title="Andon cloud",
        version="0.1.0",
        summary="Registry, relay commands and telemetry of a factory retrofitted with Andon nodes.",
        description="Errors are problem details (RFC 9457), except at `/api/v2/write`, which answers as InfluxDB v2 does.",
        openapi_tags=_TAGS,
        lifespan=_lifespan,
    )
    app.state.services = services
    problems.install(app)
    if settings.api_token is None:
        app.add_middleware(LoopbackNamesOnly)
    app.include_router(registry_routes.router)
    app.include_router(command_routes.router)
    app.include_router(gateway_routes.router)
    app.include_router(quarantine_routes.channel)
    app.include_router(quarantine_routes.router)
    app.include_router(rule_routes.router)
    app.include_router(rule_routes.channel)
    app.include_router(node_reports.channel)
    app.include_router(update_routes.router)
    app.include_router(update_routes.channel)
    app.include_router(configuration_routes.router)
    app.include_router(configuration_routes.channel)
    app.include_router(_telemetry_router(services))
    app.include_router(_operations_router())
    _document_problems(app)
    if settings.console:
        _mount_console(app, services)
    return app


def _services(settings: Settings, clock: Clock, store: TelemetryStore) -> Services:
    database = Database(settings.effective_database_url)
    notifier = Notifier()
    metrics = CollectorRegistry()
    streams_open = Gauge("andon_cloud_gateway_streams", "Open gateway streams", registry=metrics)
    streams_open.set_function(lambda: sum(notifier.connected().values()))
    registry = Registry(database, notifier, clock)
    commands = Commands(
        database=database,
        notifier=notifier,
        clock=clock,
        confirm_timeout_ms=settings.confirm_timeout_s * 1000,
        store=store,
        metrics=CommandMetrics(metrics),
    )
    return Services(
        settings=settings,
        database=database,
        store=store,
        notifier=notifier,
        registry=registry,
        commands=commands,
        rules=Rules(database, notifier, clock),
        quarantine=Quarantine(database, registry),
        updates=Updates(NodeOrders(updates.KIND, database, notifier, clock), settings.site_key),
        configurations=Configurations(NodeOrders(configurations.KIND, database, notifier, clock), settings.site_key),
        streams=GatewayStream(database, notifier, clock, settings.command_poll_s, settings.stream_keepalive_s),
        access=Access(settings.api_token, registry),
        metrics=metrics,
    )


def _mount_console(app: FastAPI, services: Services) -> None:
    # NiceGUI takes a second to import; a cloud without console does not pay for it.
    from andon_cloud.console.live_feed import LiveFeed  # noqa: PLC0415 - see above
    from andon_cloud.console.mount import mount  # noqa: PLC0415 - see above

    feed = LiveFeed(
        store=services.store,
        database=services.database,
        registry=services.registry,
        commands=services.commands,
        configurations=services.configurations,
        quarantine=services.quarantine,
        notifier=services.notifier,
        clock=services.commands.clock,
    )
    token = services.settings.api_token
    mount(app, feed, api_token=token.get_secret_value() if token is not None else None, now_ms=services.commands.clock)


def telemetry_store(settings: Settings) -> TelemetryStore:
    """The telemetry store that the settings name, not yet open."""
    if settings.store == "influxdb" and settings.influxdb_url is not None and settings.influxdb_token is not None:
        # influxdb-client takes half a second to import; the embedded store does not pay for it.
        from andon_cloud.telemetry.influx import InfluxStore  # noqa: PLC0415 - see above

        token = settings.influxdb_token.get_secret_value()
        return InfluxStore(settings.influxdb_url, token, settings.influxdb_org, settings.influxdb_bucket)
    return EmbeddedStore(settings.data_dir / "telemetry.sqlite")


def _telemetry_router(services: Services) -> APIRouter:
    async def authenticate(token: str) -> str | None:
        try:
            return await services.registry.gateway_of_token(token)
        except SQLAlchemyError as error:
            raise StoreUnavailableError(
                "the registry's database does not answer, so no token can be checked"
            ) from error

    router = APIRouter()
    router.include_router(
        query_router(services.store, now_ms=services.commands.clock),
        dependencies=[Depends(require_person)],
        responses=problems.responses(401),
    )
    router.include_router(_write_router(services, authenticate))
    return router


def _write_router(services: Services, authenticate: Authenticate) -> APIRouter:
    settings = services.settings
    return write_router(
        services.store,
        authenticate,
        [services.commands.saw_readings],
        org=settings.influxdb_org,
        bucket=settings.influxdb_bucket,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await services.database.upgrade()
    tokens = services.settings.bootstrap_gateways
    await services.registry.bootstrap({gateway: token.get_secret_value() for gateway, token in tokens.items()})
    await services.store.open()
    sweeper = asyncio.create_task(_sweep_forever(services), name="command sweeper")
    try:
        yield
    finally:
        services.notifier.close()
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper
        await services.store.close()
        await services.database.close()


async def _sweep_forever(services: Services) -> None:
    while True:
        try:
            await services.commands.sweep()
            await services.updates.sweep()
            await services.configurations.sweep()
        except SQLAlchemyError:
            _log.exception("the command sweeper could not reach the database; it tries again")
        await asyncio.sleep(services.settings.command_poll_s)


def _operations_router() -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", responses={503: {"description": "Something the cloud needs does not answer"}})
    async def healthz(services: Wired) -> Response:
        """Whether the database and the telemetry store answer."""
        parts = {"database": await services.database.healthy(), "store": await services.store.healthy()}
        status = {name: "ok" if healthy else "unavailable" for name, healthy in parts.items()}
        return JSONResponse(status, 200 if all(parts.values()) else 503)

    @router.get("/metrics", response_class=Response)
    async def metrics(services: Wired) -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(services.metrics), media_type=CONTENT_TYPE_LATEST)

    return router


def _document_problems(app: FastAPI) -> None:
    """Put the problem body, which no route returns by type, into the OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        body = problems.ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(body.pop("$defs", {}))
        schemas["ProblemBody"] = body
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend OpenAPI
