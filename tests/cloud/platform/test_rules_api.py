"""The rules at the cloud: put, get, pulled by gateways, and the commands that they issue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cloud.platform.harness import is_problem

if TYPE_CHECKING:
    import httpx
    from cloud.platform.harness import Cloud

    from andon_cloud.gateways.stream import GatewayStream

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rules.json").read_text())
HOT = VECTORS["good"][0]
PULL = "/api/v1/gateways/gw-1/rules"
COMMAND = "0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11"


async def put(cloud: Cloud, version: int, *rules: dict[str, Any]) -> httpx.Response:
    return await cloud.people.put("/api/v1/rules", json={"version": version, "rules": rules})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_all_good_rules_are_taken_as_they_are_and_bad_ones_refused(cloud: Cloud) -> None:
    answer = await put(cloud, 0, *VECTORS["good"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["rules"] == VECTORS["good"]
    assert (await cloud.gateway.get(PULL)).json() == {"version": 1, "rules": VECTORS["good"]}
    for case in VECTORS["bad"]:
        answer = await put(cloud, 1, HOT, case["rule"])
        is_problem(answer, 422, "body.rules.1")
        assert case["place"] == "type" or case["place"] in answer.json()["errors"][0]["path"], case
    is_problem(await put(cloud, 1, HOT, HOT), 422, "rules.1.id: smallest is there twice")
    long = [{**HOT, "id": f"r{number}", "description": "x" * 500, "nodes": ["a" * 63] * 50} for number in range(400)]
    is_problem(await put(cloud, 1, *long), 422, "at most 1048576")
    assert (await cloud.people.get("/api/v1/rules")).json()["version"] == 1


async def test_nobody_overwrites_what_he_has_not_seen(cloud: Cloud) -> None:
    empty = await cloud.people.get("/api/v1/rules")
    assert (empty.json()["version"], empty.json()["rules"], empty.headers["etag"]) == (0, [], '"0"')
    is_problem(await cloud.people.put("/api/v1/rules", json={"rules": [HOT]}), 428, "version in the body")
    first = await put(cloud, 0, HOT)
    assert (first.status_code, first.json()["version"]) == (200, 1)
    is_problem(await put(cloud, 0), 412, "version 1 is there")
    # By the ETag alone, and what GET gave put back as it is.
    for etag, status in (('"0"', 412), (f'W/"x", {first.headers["etag"]}', 200), ("*", 200)):
        answer = await cloud.people.put("/api/v1/rules", json={"rules": []}, headers={"If-Match": etag})
        assert answer.status_code == status
    shown = await cloud.people.get("/api/v1/rules")
    again = await cloud.people.put("/api/v1/rules", json=shown.json())
    assert (again.status_code, again.json()["version"]) == (200, 4)
    old = (await cloud.people.get("/api/v1/rules?version=1")).json()
    assert (old["version"], old["rules"], old["actor"]) == (1, [HOT], "api")
    is_problem(await cloud.people.get("/api/v1/rules?version=9"), 404, "no version 9")


async def test_a_gateway_pulls_by_version(cloud: Cloud) -> None:
    is_problem(await cloud.gateway.get(PULL), 404, "no rules yet")
    await put(cloud, 0, HOT)
    answer = await cloud.gateway.get(PULL)
    assert answer.json() == {"version": 1, "rules": [HOT]}
    known = await cloud.gateway.get(PULL, headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    await put(cloud, 1)
    newer = await cloud.gateway.get(PULL, headers={"If-None-Match": answer.headers["etag"]})
    assert newer.json() == {"version": 2, "rules": []}
    is_problem(await cloud.people.get(PULL), 401)
    is_problem(await cloud.gateway.get("/api/v1/gateways/gw-2/rules"), 403)


async def test_people_see_what_each_gateway_has_in_force(cloud: Cloud) -> None:
    assert (await cloud.people.get("/api/v1/rules/gateways")).json() == []
    status = {"version": 1, "rules": 2, "refused": ""}
    for told in ({**status, "refused": "rules.0.x: is no known key"}, status):
        assert (await cloud.gateway.put(f"{PULL}/status", json=told)).status_code == 204
        (shown,) = (await cloud.people.get("/api/v1/rules/gateways")).json()
        assert shown == told | {"gateway": "gw-1", "told_ms": cloud.clock()}
        cloud.clock.advance(5)
    is_problem(
        await cloud.gateway.put(f"{PULL}/status", json={"version": -1, "rules": 0, "refused": ""}), 422, "version"
    )
    is_problem(await cloud.people.put(f"{PULL}/status", json=status), 401)


async def test_the_stream_says_when_there_are_other_rules(cloud: Cloud) -> None:
    stream: GatewayStream = cloud.services.streams
    token_hash = await _token_hash(cloud)

    async def events(count: int) -> list[dict[str, Any]]:
        """Data of the `rules` events in the first chunks of a stream; rules are put while it is open."""
        found: list[dict[str, Any]] = []
        source = stream.events("gw-1", token_hash)
        for number in range(count):
            chunk = (await anext(source)).decode()
            blocks = [block.splitlines() for block in chunk.split("\n\n") if block]
            found += [json.loads(lines[-1].removeprefix("data: ")) for lines in blocks if lines[0] == "event: rules"]
            if number + 1 < count:
                await put(cloud, (await cloud.people.get("/api/v1/rules")).json()["version"], HOT)
        await source.aclose()  # type: ignore[attr-defined]  # an async generator
        return found

    assert await events(1) == [], "nothing before the first rules"
    first, second = await events(3)
    assert (first["version"], second["version"]) == (1, 2)
    assert second["etag"] == (await cloud.people.get("/api/v1/rules")).headers["etag"]
    assert await events(1) == [second], "and at every connect"


async def _token_hash(cloud: Cloud) -> str:
    from andon_cloud.registry.tokens import token_hash  # noqa: PLC0415 -- beside its only use

    return token_hash(str(cloud.gateway.headers["authorization"]).removeprefix("Token "))


# --- commands that a rule issued ----------------------------------------------------------------------------------------
def declaration(cloud: Cloud, **changes: Any) -> dict[str, Any]:
    now_ms = cloud.clock()
    wish = {"node": "press-7", "relay": 0, "state": False, "lease_s": 600, "rule": "hot", "reason": "alarm of high"}
    return wish | {"expires_ms": now_ms + 30_000, "at_ms": now_ms} | changes


async def declare(cloud: Cloud, command: str = COMMAND, **changes: Any) -> httpx.Response:
    path = f"/api/v1/gateways/gw-1/commands/{command}"
    return await cloud.gateway.put(path, json=declaration(cloud, **changes))


async def report(cloud: Cloud, state: str, at_ms: int) -> None:
    body = {"state": state, "at_ms": at_ms, "contact": False, "detail": ""}
    answer = await cloud.gateway.post(f"/api/v1/gateways/gw-1/commands/{COMMAND}/events", json=body)
    assert answer.status_code == 204, answer.text


async def history(cloud: Cloud) -> dict[str, Any]:
    answer = await cloud.people.get(f"/api/v1/commands/{COMMAND}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_declared_command_is_in_the_log_like_any_other(cloud: Cloud) -> None:
    await cloud.register()
    assert (await declare(cloud)).status_code == 204
    assert (await declare(cloud)).status_code == 204, "told again, nothing changes"
    await report(cloud, "acknowledged", cloud.clock() + 20)
    found = await history(cloud)
    assert (found["machine"], found["status"], found["actor"]) == ("press-7", "acknowledged", "rule:hot")
    assert [(entry["status"], entry["actor"]) for entry in found["audit"]] == [
        ("sent", "rule:hot"),
        ("acknowledged", "gateway:gw-1"),
    ]
    listed = (await cloud.people.get("/api/v1/machines/press-7/commands")).json()
    assert [command["id"] for command in listed] == [COMMAND]


async def test_a_command_declared_long_after_it_ran_waits_for_its_outcome(cloud: Cloud) -> None:
    await cloud.register()
    long_ago = cloud.clock() - 86_400_000
    await declare(cloud, at_ms=long_ago, expires_ms=long_ago + 30_000)
    await cloud.services.commands.sweep()
    assert (await history(cloud))["status"] == "sent"
    await report(cloud, "acknowledged", long_ago + 20)
    assert (await history(cloud))["times"]["acknowledged"] == long_ago + 20
    cloud.clock.advance(3600)
    other = "1c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11"
    await declare(cloud, other, at_ms=long_ago, expires_ms=long_ago + 30_000)
    cloud.clock.advance(61)
    await cloud.services.commands.sweep()
    assert (await cloud.people.get(f"/api/v1/commands/{other}")).json()["status"] == "failed", "no outcome was told"


async def test_a_gateway_declares_only_for_its_own_nodes(cloud: Cloud) -> None:
    is_problem(await declare(cloud), 404, "node press-7 at gateway gw-1")
    await cloud.register()
    is_problem(await declare(cloud, relay=64), 422, "relay")
    is_problem(await declare(cloud, state="off"), 422, "state")
    token = (await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "Hall 2"})).json()["token"]
    other = {"Authorization": f"Token {token}"}
    body = declaration(cloud)
    answer = await cloud.gateway.put(f"/api/v1/gateways/gw-2/commands/{COMMAND}", json=body, headers=other)
    is_problem(answer, 404, "node press-7 at gateway gw-2")
    await declare(cloud)
    answer = await cloud.gateway.put(f"/api/v1/gateways/gw-2/commands/{COMMAND}", json=body, headers=other)
    is_problem(answer, 409, "another gateway's")
