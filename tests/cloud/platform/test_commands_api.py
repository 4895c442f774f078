"""Relay commands through the API on both databases, from the wish to the proof."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from cloud.platform.harness import is_problem

from andon_cloud.app import create_app
from andon_cloud.telemetry.embedded import EmbeddedStore
from andon_cloud.telemetry.store import Precision

if TYPE_CHECKING:
    import httpx
    from cloud.platform.harness import Cloud

    from andon_cloud.settings import Settings

WISH: dict[str, Any] = {"state": True, "lease_s": 60, "reason": "test", "expires_s": 30}
PATH = "/api/v1/machines/press-7/relays/0/commands"


async def issue(cloud: Cloud, key: str | None = None) -> dict[str, Any]:
    answer = await cloud.people.post(PATH, json=WISH, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 202, answer.text
    command: dict[str, Any] = answer.json()
    return command


async def report(cloud: Cloud, command: str, state: str, **fields: Any) -> httpx.Response:
    body = {"state": state, "at_ms": cloud.clock.now_ms, "contact": None, "detail": ""} | fields
    return await cloud.gateway.post(f"/api/v1/gateways/gw-1/commands/{command}/events", json=body)


async def relay_reading(
    cloud: Cloud, *, on: bool, time_ms: int | None = None, channel: int = 0, headers: dict[str, str] | None = None
) -> None:
    tags = f"area=a1,channel={channel},line=l1,machine=press-7,node=press-7,site=demo"
    body = f"relay,{tags} on={str(on).lower()} {cloud.clock.now_ms if time_ms is None else time_ms}"
    target = "/api/v2/write?org=andon&bucket=telemetry&precision=ms"
    answer = await cloud.gateway.post(target, content=body, headers=headers)
    assert answer.status_code == 204, answer.text


async def history(cloud: Cloud, command: str) -> dict[str, Any]:
    answer = await cloud.people.get(f"/api/v1/commands/{command}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture
async def factory(cloud: Cloud) -> Cloud:
    await cloud.register()
    return cloud


async def test_from_the_wish_to_the_proof(factory: Cloud) -> None:
    start = factory.clock.now_ms
    command = await issue(factory)
    assert command["status"] == "queued"
    assert command["expires_ms"] == start + 30_000
    factory.clock.advance(0.01)
    assert (await report(factory, command["id"], "sent")).status_code == 204
    factory.clock.advance(0.03)
    await report(factory, command["id"], "acknowledged", contact=True)
    factory.clock.advance(0.05)
    await relay_reading(factory, on=True, time_ms=start + 30)
    done = await history(factory, command["id"])
    assert done["status"] == "confirmed"
    assert done["times"] == {
        "queued": start,
        "sent": start + 10,
        "acknowledged": start + 40,
        "confirmed": start + 90,
    }
    assert done["contact"] is True
    assert [(entry["status"], entry["actor"]) for entry in done["audit"]] == [
        ("queued", "api"),
        ("sent", "gateway:gw-1"),
        ("acknowledged", "gateway:gw-1"),
        ("confirmed", "cloud"),
    ]
    assert done["audit"][0]["reason"] == "test"
    metrics = (await factory.people.get("/metrics")).text
    assert 'andon_cloud_commands_total{status="confirmed"} 1.0' in metrics


async def test_the_reading_may_come_before_the_acknowledgement(factory: Cloud) -> None:
    command = await issue(factory)
    await report(factory, command["id"], "sent")
    factory.clock.advance(0.05)
    await relay_reading(factory, on=True)
    assert (await history(factory, command["id"]))["status"] == "sent"
    factory.clock.advance(0.02)
    await report(factory, command["id"], "acknowledged")
    assert (await history(factory, command["id"]))["status"] == "confirmed"


async def test_what_does_not_prove_a_command(factory: Cloud) -> None:
    factory.clock.advance(10)
    await relay_reading(factory, on=True)  # the contact was closed already, long before
    factory.clock.advance(10)
    command = await issue(factory)
    await report(factory, command["id"], "sent")
    await report(factory, command["id"], "acknowledged")
    await relay_reading(factory, on=False)
    await relay_reading(factory, on=True, channel=1)
    await relay_reading(factory, on=True, time_ms=factory.clock.now_ms - 5_000)
    assert (await history(factory, command["id"]))["status"] == "acknowledged"
    await relay_reading(factory, on=True)
    assert (await history(factory, command["id"]))["status"] == "confirmed"


async def test_another_gateways_token_confirms_nothing(factory: Cloud) -> None:
    answer = await factory.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "Hall 2"})
    as_other = {"Authorization": f"Token {answer.json()['token']}"}
    await relay_reading(factory, on=False)
    command = await issue(factory)
    await report(factory, command["id"], "sent")
    for step in ("sent", "acknowledged"):
        await report(factory, command["id"], step)
        factory.clock.advance(0.01)
        await relay_reading(factory, on=True, headers=as_other)
        await factory.services.commands.sweep()
        assert (await history(factory, command["id"]))["status"] == step
    await relay_reading(factory, on=True)
    assert (await history(factory, command["id"]))["status"] == "confirmed"


async def test_a_proof_that_another_process_took_is_found_in_the_store(factory: Cloud, settings: Settings) -> None:
    command = await issue(factory)
    await report(factory, command["id"], "acknowledged")
    tags = "area=a1,channel=0,line=l1,machine=press-7,node=press-7,site=demo"
    store = factory.services.store
    await store.write(f"relay,{tags} on=true {factory.clock.now_ms}".encode(), Precision.MS)
    await store.write(f"relay,{tags} on=false {factory.clock.now_ms + 5}".encode(), Precision.MS)
    assert (await history(factory, command["id"]))["status"] == "acknowledged"
    restarted = create_app(
        settings, clock=factory.clock, store=EmbeddedStore(settings.data_dir / "unused.sqlite")
    ).state.services
    object.__setattr__(restarted.commands, "store", store)
    await restarted.commands.sweep()
    await restarted.database.close()
    assert (await history(factory, command["id"]))["status"] == "confirmed"


async def test_the_same_key_answers_with_the_first_command(factory: Cloud) -> None:
    first = await issue(factory, key="k1")
    await report(factory, first["id"], "sent")
    again = await issue(factory, key="k1")
    assert again["id"] == first["id"]
    assert again["status"] == "sent"
    other = await factory.people.post(PATH, json=WISH | {"state": False}, headers={"Idempotency-Key": "k1"})
    is_problem(other, 409, "Idempotency-Key")
    elsewhere = await factory.people.post(
        PATH.replace("relays/0", "relays/1"), json=WISH, headers={"Idempotency-Key": "k1"}
    )
    is_problem(elsewhere, 409)
    listed = (await factory.people.get("/api/v1/machines/press-7/commands")).json()
    assert [item["id"] for item in listed] == [first["id"]]


async def test_the_same_key_at_once_makes_one_command(factory: Cloud) -> None:
    answers = await asyncio.gather(*(issue(factory, key="k2") for _ in range(8)))
    assert len({answer["id"] for answer in answers}) == 1


async def test_without_a_key_each_request_is_a_command(factory: Cloud) -> None:
    first, second = await issue(factory), await issue(factory)
    listed = (await factory.people.get("/api/v1/machines/press-7/commands?limit=1")).json()
    assert [item["id"] for item in listed] == [second["id"]]
    assert first["id"] != second["id"]


async def test_repeated_and_late_reports_change_nothing(factory: Cloud) -> None:
    command = (await issue(factory))["id"]
    await report(factory, command, "acknowledged", detail="first")
    before = await history(factory, command)
    factory.clock.advance(1)
    assert (await report(factory, command, "acknowledged", detail="again")).status_code == 204
    assert await history(factory, command) == before
    assert (await report(factory, command, "sent")).status_code == 204
    assert (await report(factory, command, "expired")).status_code == 204
    after = await history(factory, command)
    assert after["status"] == "acknowledged"
    assert after["times"] == before["times"]
    assert [entry["applied"] for entry in after["audit"]] == [True, True, False, False]


async def test_a_command_that_nobody_was_offered_expires(factory: Cloud) -> None:
    command = (await issue(factory))["id"]
    factory.clock.advance(29.9)
    await factory.services.commands.sweep()
    assert (await history(factory, command))["status"] == "queued"
    factory.clock.advance(0.1)
    await factory.services.commands.sweep()
    ended = await history(factory, command)
    assert ended["status"] == "expired"
    assert ended["times"]["expired"] == factory.clock.now_ms
    assert "not connected" in ended["detail"]


async def test_a_command_that_the_gateway_took_waits_for_its_report(factory: Cloud) -> None:
    command = (await issue(factory))["id"]
    await report(factory, command, "sent")
    factory.clock.advance(85)
    await factory.services.commands.sweep()
    assert (await history(factory, command))["status"] == "sent"
    await report(factory, command, "expired", detail="the node did not answer")
    ended = await history(factory, command)
    assert (ended["status"], ended["detail"]) == ("expired", "the node did not answer")


async def test_silence_after_taking_or_switching_is_a_failure(factory: Cloud) -> None:
    taken, switched = (await issue(factory))["id"], (await issue(factory))["id"]
    await report(factory, taken, "sent")
    await report(factory, switched, "acknowledged")
    factory.clock.advance(400)
    await factory.services.commands.sweep()
    assert "no outcome" in (await history(factory, taken))["detail"]
    assert "within 300 s" in (await history(factory, switched))["detail"]
    assert {(await history(factory, command))["status"] for command in (taken, switched)} == {"failed"}


async def test_a_gateway_reports_on_its_own_commands_only(factory: Cloud) -> None:
    command = (await issue(factory))["id"]
    token = (await factory.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "g"})).json()["token"]
    answer = await factory.people.post(
        f"/api/v1/gateways/gw-2/commands/{command}/events",
        json={"state": "sent", "at_ms": 1},
        headers={"Authorization": f"Token {token}"},
    )
    is_problem(answer, 404, "gw-2")
    assert (await history(factory, command))["status"] == "queued"


async def test_a_report_is_not_lost_for_its_remark(factory: Cloud) -> None:
    command = (await issue(factory))["id"]
    assert (await report(factory, command, "failed", detail="a\u0000b\n" + "x" * 900)).status_code == 204
    detail = (await history(factory, command))["detail"]
    assert detail.startswith("a b x")
    assert len(detail) == 500


BAD_WISHES: list[tuple[str, dict[str, Any], int, str]] = [
    (PATH, WISH | {"lease_s": 0}, 422, "body.lease_s"),
    (PATH, WISH | {"lease_s": 86_401}, 422, "body.lease_s"),
    (PATH, WISH | {"lease_s": 1.5}, 422, "body.lease_s"),
    (PATH, WISH | {"state": "on"}, 422, "body.state"),
    (PATH, WISH | {"state": 1}, 422, "body.state"),
    (PATH, WISH | {"reason": ""}, 422, "body.reason"),
    (PATH, WISH | {"expires_s": 0}, 422, "body.expires_s"),
    (PATH, WISH | {"lease": 1}, 422, "body.lease"),
    (PATH.replace("relays/0", "relays/64"), WISH, 422, "path.relay"),
    (PATH.replace("press-7", "press-9"), WISH, 404, "press-9"),
]


async def test_a_bad_wish_queues_nothing(factory: Cloud, subtests: pytest.Subtests) -> None:
    for path, wish, status, word in BAD_WISHES:
        with subtests.test(word=word):
            is_problem(await factory.people.post(path, json=wish), status, word)
    assert (await factory.people.get("/api/v1/machines/press-7/commands")).json() == []


async def test_a_machine_without_node_cannot_be_commanded(factory: Cloud) -> None:
    await factory.people.delete("/api/v1/nodes/press-7")
    is_problem(await factory.people.post(PATH, json=WISH), 409, "no node")


async def test_unknown_commands_are_problems(factory: Cloud) -> None:
    unknown = "0c3c1d6e-5f7a-4c5e-9a55-0d0c3b9c2f11"
    is_problem(await factory.people.get(f"/api/v1/commands/{unknown}"), 404, unknown)
    is_problem(await factory.people.get("/api/v1/commands/%00"), 422)
    is_problem(await factory.people.get("/api/v1/machines/nobody/commands"), 404, "nobody")
    is_problem(await report(factory, unknown, "sent"), 404)
    is_problem(await report(factory, unknown, "confirmed"), 422, "body.state")
