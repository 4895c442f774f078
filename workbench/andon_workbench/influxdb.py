"""An InfluxDB 2 for `--store influxdb`: one that is given by its address, or our own on a free folder."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from andon_workbench.errors import ComponentError, MissingPartError
from andon_workbench.ports import LOOPBACK, free_tcp_port
from andon_workbench.processes import ChildProcess, Command

_READY_LIMIT_S = 30.0
_ORG = "andon"


def find_influxd() -> Path:
    """Find the server: on PATH, else where `make influxd` puts it.

    Raises:
        MissingPartError: there is none.
    """
    found = shutil.which("influxd")
    if found is not None:
        return Path(found)
    cache = Path(os.environ.get("ANDON_CACHE") or Path.home() / ".cache/andon")
    cached = cache / "bin/influxd"
    if cached.is_file():
        return cached
    raise MissingPartError("influxd is missing; get it with: make influxd (or set ANDON_TEST_INFLUXDB_URL)")


@dataclass(frozen=True, slots=True)
class Influxdb:
    """Access to one InfluxDB with a bucket of this run's own; `process` only when the workbench started it."""

    url: str
    token: str
    org: str
    bucket: str
    process: ChildProcess | None = None

    @classmethod
    async def provide(cls, folder: Path, port: int) -> Self:
        """Use the server that `ANDON_TEST_INFLUXDB_URL` names, else start `influxd` on `port` (0: any free one).

        A named server that is set up already needs `ANDON_TEST_INFLUXDB_TOKEN` (and `..._ORG`, default andon).

        Raises:
            MissingPartError: there is neither.
            ComponentError: the server does not start or refuses the setup.
        """
        url = os.environ.get("ANDON_TEST_INFLUXDB_URL")
        if url:
            return await cls._on(url, None)
        program = find_influxd()
        port = port or free_tcp_port()
        data = folder / "influxdb"
        data.mkdir()
        process = await ChildProcess.start(
            "influxdb",
            Command(
                [
                    program,
                    "run",
                    "--bolt-path",
                    data / "influxd.bolt",
                    "--sqlite-path",
                    data / "influxd.sqlite",
                    "--engine-path",
                    data / "engine",
                    "--http-bind-address",
                    f"{LOOPBACK}:{port}",
                    "--reporting-disabled",
                ]
            ),
            folder / "influxdb.log",
        )
        try:
            return await cls._on(f"http://{LOOPBACK}:{port}", process)
        except BaseException:
            await process.kill()
            raise

    @classmethod
    async def _on(cls, url: str, process: ChildProcess | None) -> Self:
        bucket = f"demo-{secrets.token_hex(4)}"
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
            await _until_healthy(http, process)
            try:
                if (await http.get("/api/v2/setup")).json().get("allowed"):
                    return cls(url, await _set_up(http, bucket), _ORG, bucket, process)
                token = os.environ.get("ANDON_TEST_INFLUXDB_TOKEN", "")
                org = os.environ.get("ANDON_TEST_INFLUXDB_ORG", _ORG)
                await _make_bucket(http, token, org, bucket)
            except httpx.HTTPError as error:
                raise ComponentError(
                    f"InfluxDB at {url} refuses the setup ({error}): check ANDON_TEST_INFLUXDB_TOKEN and _ORG"
                ) from error
        return cls(url, token, org, bucket, process)


async def _until_healthy(http: httpx.AsyncClient, process: ChildProcess | None) -> None:
    try:
        async with asyncio.timeout(_READY_LIMIT_S):
            while process is None or process.running:
                try:
                    if (await http.get("/health")).json().get("status") == "pass":
                        return
                except (httpx.TransportError, ValueError):
                    pass
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    raise ComponentError(f"InfluxDB at {http.base_url} does not become healthy; is the address right?")


async def _set_up(http: httpx.AsyncClient, bucket: str) -> str:
    token = secrets.token_urlsafe(24)
    answer = await http.post(
        "/api/v2/setup",
        json={
            "username": "andon",
            "password": secrets.token_urlsafe(16),
            "org": _ORG,
            "bucket": bucket,
            "token": token,
        },
    )
    answer.raise_for_status()
    return token


async def _make_bucket(http: httpx.AsyncClient, token: str, org: str, bucket: str) -> None:
    headers = {"Authorization": f"Token {token}"}
    found = await http.get("/api/v2/orgs", params={"org": org}, headers=headers)
    found.raise_for_status()
    answer = await http.post(
        "/api/v2/buckets", json={"orgID": found.json()["orgs"][0]["id"], "name": bucket}, headers=headers
    )
    answer.raise_for_status()
