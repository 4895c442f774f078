"""The command `andon-cloud`: serve, check the settings, migrate the database."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from andon_cloud.app import create_app, telemetry_store
from andon_cloud.db.engine import Database, DatabaseError
from andon_cloud.settings import PREFIX, Settings, SettingsError, load
from andon_cloud.telemetry.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE = 2
_GRACEFUL_SHUTDOWN_S = 5


class BindError(Exception):
    """The address cannot be served; one line that names the setting."""


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready, and ends the gateways' streams before it waits for open requests."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the one line that scripts wait for."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            sys.stdout.write(f"ready http={_url_host(host)}:{port}\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: streams are endless by nature, so they are told first."""
        application = self.config.app
        application.state.services.notifier.close()  # type: ignore[union-attr]  # always our own FastAPI app
        await super().shutdown(sockets)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status (0 good, 2 wrong settings or an address in use)."""
    options = _parser().parse_args(arguments)
    command = {"serve": _serve, "check": _check, "migrate": _migrate}[options.command]
    try:
        settings = load(
            options.config or _config_from_environment(),
            bind=getattr(options, "bind", None),
            port=getattr(options, "port", None),
            data_dir=options.data_dir,
        )
        return command(settings)
    except (SettingsError, DatabaseError, StoreError, BindError) as error:
        sys.stderr.write(f"andon-cloud: {error}\n")
        return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="andon-cloud",
        description=f"Andon's cloud. Settings come from the environment ({PREFIX}...), a .env file and a TOML file.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, help=f"TOML file with settings (also {PREFIX}CONFIG)")
    common.add_argument("--data-dir", type=Path, help=f"folder for the databases (also {PREFIX}DATA_DIR)")
    serve = commands.add_parser("serve", parents=[common], help="serve the API, the gateways and the console")
    serve.add_argument("--bind", help=f"address (also {PREFIX}BIND)")
    serve.add_argument("--port", type=int, help=f"port, 0 for any free one (also {PREFIX}PORT)")
    commands.add_parser("check", parents=[common], help="check the settings and that the database answers")
    commands.add_parser("migrate", parents=[common], help="bring the database's schema to this version")
    return parser


def _config_from_environment() -> Path | None:
    name = os.environ.get(f"{PREFIX}CONFIG")
    return Path(name) if name else None


def _serve(settings: Settings) -> int:
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    listener = _listen(settings)
    with listener:
        asyncio.run(_prepare(settings))
        # Uvicorn raises the signal again when it has shut down; for us a requested stop is a success.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        config = uvicorn.Config(
            create_app(settings),
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            log_config=None,
            access_log=settings.log_level == "debug",
            server_header=False,
            timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_S,
        )
        server = Server(config)
        server.run(sockets=[listener])
    return 0 if server.started else 1


async def _prepare(settings: Settings) -> None:
    """Everything that can be wrong with the databases goes wrong here, where it is one line and no traceback."""
    await _upgrade(settings)
    store = telemetry_store(settings)
    await store.open()
    await store.close()


async def _upgrade(settings: Settings) -> None:
    database = Database(settings.effective_database_url)
    try:
        await database.upgrade()
    finally:
        await database.close()


def _check(settings: Settings) -> int:
    async def answers() -> bool:
        database = Database(settings.effective_database_url)
        try:
            return await database.healthy()
        finally:
            await database.close()

    if not asyncio.run(answers()):
        raise DatabaseError(f"{PREFIX}DATABASE_URL: the database does not answer; is it running and the URL right?")
    sys.stdout.write(f"settings good, database answers, store={settings.store}\n")
    return 0


def _migrate(settings: Settings) -> int:
    asyncio.run(_upgrade(settings))
    sys.stdout.write("the database has the newest schema\n")
    return 0


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.bind.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BindError(
                f"{PREFIX}PORT: port {settings.port} is in use; set another one, or 0 for any free port"
            ) from error
        raise BindError(f"{PREFIX}BIND: cannot serve on {settings.bind}:{settings.port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
