"""Who may do what: people with the API token, gateways with theirs, nobody by another host name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cloud.platform.harness import GATEWAY_TOKEN, Cloud, is_problem, running

from andon_cloud.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

API_TOKEN = "people-token-of-the-test"


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Cloud]:
    """An app that asks people for a token."""
    settings = load(
        data_dir=tmp_path,
        api_token=API_TOKEN,
        bootstrap_gateways={"gw-1": GATEWAY_TOKEN},
        console=False,
        bind="0.0.0.0",
    )
    async with running(settings) as cloud:
        yield cloud


def operations(cloud: Cloud, prefix: str) -> list[tuple[str, str]]:
    found = []
    for path, methods in cloud.app.openapi()["paths"].items():
        if path.startswith(prefix):
            concrete = path.replace("{relay}", "0").replace("{command}", "0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11")
            for name in ("machine", "node", "gateway"):
                concrete = concrete.replace(f"{{{name}}}", "gw-1")
            found += [(method.upper(), concrete) for method in methods]
    return found


async def test_every_operation_of_the_api_asks_for_a_token(locked: Cloud, subtests: pytest.Subtests) -> None:
    found = operations(locked, "/api/v1/")
    assert len(found) >= 18
    for method, path in found:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {API_TOKEN}"}):
            with subtests.test(method=method, path=path, header=header):
                is_problem(await locked.people.request(method, path, headers=header, json={}), 401)


async def test_the_api_token_opens_the_people_s_api_only(locked: Cloud) -> None:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    assert (await locked.people.get("/api/v1/machines", headers=headers)).status_code == 200
    is_problem(await locked.people.get("/api/v1/gateways/gw-1/stream", headers=headers), 401)
    answer = await locked.people.post("/api/v2/write?org=andon&bucket=telemetry", content=b"m a=1", headers=headers)
    assert answer.status_code == 401


async def test_a_gateway_s_token_opens_its_channel_and_the_write_endpoint_only(locked: Cloud) -> None:
    is_problem(await locked.gateway.get("/api/v1/machines"), 401)
    bearer = {"Authorization": f"Bearer {GATEWAY_TOKEN}"}
    is_problem(await locked.people.get("/api/v1/machines", headers=bearer), 401)
    answer = await locked.gateway.post("/api/v2/write?org=andon&bucket=telemetry", content=b"m a=1")
    assert answer.status_code == 204


async def test_a_gateway_cannot_use_another_s_channel(locked: Cloud) -> None:
    people = {"Authorization": f"Bearer {API_TOKEN}"}
    await locked.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "g"}, headers=people)
    is_problem(await locked.gateway.get("/api/v1/gateways/gw-2/stream"), 403, "gw-2")


async def test_health_and_metrics_are_open(locked: Cloud) -> None:
    assert (await locked.people.get("/healthz")).json() == {"database": "ok", "store": "ok"}
    assert "andon_cloud_gateway_streams 0.0" in (await locked.people.get("/metrics")).text


async def test_tokens_are_kept_as_hashes_only(locked: Cloud) -> None:
    files = [path.read_bytes() for path in locked.services.settings.data_dir.iterdir() if path.is_file()]
    assert files
    assert not any(GATEWAY_TOKEN.encode() in content for content in files)


async def test_without_a_token_only_loopback_names_are_answered(tmp_path: Path, subtests: pytest.Subtests) -> None:
    async with running(load(data_dir=tmp_path, console=False)) as cloud:
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "127.9.9.9"):
            with subtests.test(host=host):
                assert (await cloud.people.get("/healthz", headers={"host": host})).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "10.0.0.1", "", "[::1"):
            with subtests.test(host=host):
                is_problem(await cloud.people.get("/healthz", headers={"host": host}), 421, "ANDON_CLOUD_API_TOKEN")
