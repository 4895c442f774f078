"""The command `andon-gateway`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from andon_gateway.app import serve
from andon_gateway.errors import GatewayError, SettingsError, StorageUnavailable
from andon_gateway.operations import log
from andon_gateway.rules.on_disk import rules_on_disk
from andon_gateway.settings import DATABASE_NAME, load_influx_token, load_settings, load_token
from andon_gateway.spool.dead_letters import DeadLetterBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_gateway.settings import Settings

UNUSABLE: Final = 2
"""Exit status: the settings do not work; starting again without a change will not help."""
TRY_AGAIN: Final = 75
"""Exit status: the disk takes no data (EX_TEMPFAIL of sysexits.h); a supervisor starts again until it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(options.config)
        if options.command == "dead-letters":
            return _dead_letters(settings, options)
        token = load_token(settings, options.config)
        influx_token = load_influx_token(settings, options.config)
        if options.command == "check":
            _check_folder(settings, options.config)
            rules = rules_on_disk(settings.gateway.state_dir / DATABASE_NAME)
            print(f"{options.config}: good\n{explain(settings)}\nrules        {rules}")  # noqa: T201 -- the command's answer
            return 0
        log.configure(settings.gateway.log_level)
        # The standard loop, not uvloop: aiocoap's sockets ask for ICMP errors (IP_RECVERR), and uvloop stops watching a
        # socket that reports one, so that without the fast path a single switched-off node would make the gateway deaf.
        asyncio.run(serve(settings, options.config, token, influx_token))
    except StorageUnavailable as error:
        print(f"andon-gateway: {error}", file=sys.stderr)  # noqa: T201 -- one line for the person who started it
        return TRY_AGAIN
    except GatewayError as error:
        print(f"andon-gateway: {error}", file=sys.stderr)  # noqa: T201 -- one line for the person who started it
        return UNUSABLE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="andon-gateway", description="Andon's factory gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "serve until SIGTERM or SIGINT"), ("check", "check the configuration and stop")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the TOML configuration")
    text = "lines that the cloud refused for good; works beside the running gateway"
    letters = commands.add_parser("dead-letters", help=text, description=text)
    letters.add_argument("action", choices=("list", "replay", "purge"))
    letters.add_argument("--config", type=Path, required=True, metavar="FILE", help="the TOML configuration")
    letters.add_argument(
        "--id", type=int, action="append", default=[], metavar="N", help="only this letter; repeatable"
    )
    letters.add_argument("--limit", type=int, default=-1, metavar="N", help="list at most so many")
    return parser


def _check_folder(settings: Settings, config: Path) -> None:
    """Refuse what can never become the state folder; that it is not there yet is good.

    Raises:
        SettingsError: It is something else.
    """
    folder = settings.gateway.state_dir
    with suppress(OSError):  # who checks may not be allowed to see it
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"{config}: gateway.state_dir: {folder} is no folder")


def _dead_letters(settings: Settings, options: argparse.Namespace) -> int:
    """`dead-letters list|replay|purge`: one JSON line per letter, or the number of letters."""
    with DeadLetterBox(settings.gateway.state_dir / DATABASE_NAME) as box:
        if options.action == "list":
            for letter in box.letters(options.id, options.limit):
                print(json.dumps(asdict(letter)))  # noqa: T201 -- the command's answer
            return 0
        moved = box.replay(options.id) if options.action == "replay" else box.purge(options.id)
    words = "handed to the uplink again" if options.action == "replay" else "deleted"
    print(f"{moved} dead letters {words}")  # noqa: T201 -- the command's answer
    return 0


def explain(settings: Settings) -> str:
    """What the gateway will do with these settings, line by line."""
    store = settings.influxdb or settings.cloud
    open_to = settings.coap.allow_unprotected
    rate = settings.uplink.points_per_s
    lines = [
        f"nodes        coap://{settings.coap.bind}:{settings.coap.port}, "
        + (
            "all with OSCORE"
            if not open_to
            else f"unprotected allowed: {open_to if open_to == '*' else ', '.join(open_to)}"
        ),
        f"workers      {settings.coap.workers}"
        + (" processes receive telemetry" if settings.coap.workers > 1 else ": the gateway itself receives telemetry"),
        *(f"wired        {line.port} at {line.baud} baud" for line in settings.serial),
        f"telemetry    {store.url}, org {store.org}, bucket {store.bucket}, "
        + (f"at most {rate:g} points/s" if rate else "no limit of rate"),
        f"commands     {settings.cloud.url} as gateway {settings.gateway.id}",
        f"state        {settings.gateway.state_dir / DATABASE_NAME}, at most {settings.spool.quota_bytes >> 20} MiB wait",
        *(
            f"aggregate    {item.match}: every {item.window_s} s, {'and' if item.raw else 'instead of'} the single readings"
            for item in settings.aggregate
        ),
        f"operation    http://{settings.http.bind}:{settings.http.port}/metrics and /healthz",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
