"""Configurations through the API: what is taken, who may say what, and that neither an end nor a secret gets lost."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from cloud.platform.harness import LIMIT_S, is_problem, wait_until
from cloud.platform.test_stream import Factory
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from andon_cloud.configurations.lifecycle import LIFE, ConfigurationStatus
from andon_workbench.node.config import sign

if TYPE_CHECKING:
    import httpx
    from cloud.platform.harness import Cloud, StartServer

    from andon_cloud.settings import Settings

# Signatures are made by the workbench, which knows nothing of the cloud's check.
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SITE_KEY = KEY.public_key().public_bytes_raw().hex()
PASSWORD = "hall-password"
WISH = {"reason": "test", "expires_s": "3600"}


def document(revision: Any = 5, node: str = "press-7", **more: Any) -> bytes:
    body = {"version": 1, "node": node, "revision": revision, "wifi": {"ssid": "hall", "password": PASSWORD}, **more}
    return json.dumps(body, indent=3).encode()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"site_key": SITE_KEY})


async def post(cloud: Cloud, data: bytes, **params: str) -> httpx.Response:
    url = "/api/v1/nodes/press-7/configurations"
    answer: httpx.Response = await cloud.people.post(url, content=data, params={**WISH, **params})
    return answer


async def ordered(cloud: Cloud, revision: int = 5) -> str:
    answer = await post(cloud, document(revision))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def told(cloud: Cloud, order: str, state: str, detail: str = "") -> int:
    body = {"state": state, "at_ms": cloud.clock(), "detail": detail}
    answer = await cloud.gateway.post(f"/api/v1/gateways/gw-1/configurations/{order}/events", json=body)
    return answer.status_code


async def seen(cloud: Cloud, order: str) -> dict[str, Any]:
    found: dict[str, Any] = (await cloud.people.get(f"/api/v1/configurations/{order}")).json()
    return found


async def test_from_the_order_to_the_confirmation(cloud: Cloud) -> None:
    await cloud.register("press-7")
    order = await ordered(cloud)
    for state in ("sent", "sent", "trial", "trial", "confirmed", "sent", "rolled-back", "confirmed"):
        cloud.clock.advance(1)
        assert await told(cloud, order, state) == 204
    found = await seen(cloud, order)
    assert (found["status"], found["revision"], found["node"], found["signed"]) == ("confirmed", 5, "press-7", False)
    steps = [(entry["status"], entry["applied"], entry["actor"]) for entry in found["audit"]]
    way = ["requested", "sent", "trial", "confirmed"]
    assert [step[0] for step in steps if step[1]] == way == sorted(found["times"], key=found["times"].__getitem__)
    assert [step for step in steps if not step[1]] == [("rolled-back", False, "gateway:gw-1")]
    assert [item["id"] for item in (await cloud.people.get("/api/v1/nodes/press-7/configurations")).json()] == [order]


async def test_the_gateway_gets_the_bytes_and_people_no_secret(cloud: Cloud) -> None:
    await cloud.register("press-7")
    order = await ordered(cloud)
    fetched = await cloud.gateway.get(f"/api/v1/gateways/gw-1/configurations/{order}")
    assert fetched.content == document()
    assert fetched.headers["etag"] == f'"{hashlib.sha256(document()).hexdigest()}"'
    shown = await cloud.people.get(f"/api/v1/configurations/{order}/document")
    assert shown.json() == {"version": 1, "node": "press-7", "revision": 5, "wifi": {"ssid": "hall"}}
    listed = await cloud.people.get("/api/v1/nodes/press-7/configurations")
    assert PASSWORD not in shown.text + listed.text + json.dumps(await seen(cloud, order))
    token = (await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "Hall 2"})).json()["token"]
    as_other = {"Authorization": f"Token {token}"}
    url = f"/api/v1/gateways/gw-2/configurations/{order}"
    is_problem(await cloud.gateway.get(url, headers=as_other), 404)
    body = {"state": "confirmed", "at_ms": cloud.clock()}
    is_problem(await cloud.gateway.post(f"{url}/events", json=body, headers=as_other), 404)
    is_problem(await cloud.gateway.get(url.replace("gw-2", "gw-1"), headers=as_other), 403)
    assert (await seen(cloud, order))["status"] == "requested"


async def test_what_no_node_could_take_is_not_kept(cloud: Cloud) -> None:
    await cloud.register("press-7")
    for data, word in (
        (b"", "JSON object"),
        (b"[1]", "JSON object"),
        (b"[" * 8000, "JSON object"),
        (b'{"node": "\xff"}', "JSON object"),
        (document(node="press-8"), "node: expected press-7"),
        (document(revision=True), "revision"),
        (document(revision=0), "revision"),
        (document(revision="5"), "revision"),
    ):
        is_problem(await post(cloud, data), 422, word)
    is_problem(await post(cloud, document(more="x" * 8192)), 413, "8192")
    is_problem(await post(cloud, document(), sig="abc"), 422, "128 hexadecimal")
    is_problem(await post(cloud, document(), sig=sign(document(), OTHER_KEY)), 422, "not the site's signature")
    is_problem(await post(cloud, document(6), sig=sign(document(5), KEY)), 422, "not the site's signature")
    assert (await cloud.people.get("/api/v1/nodes/press-7/configurations")).json() == []
    answer = await post(cloud, document(), sig=sign(document(), KEY))
    assert (answer.status_code, answer.json()["signed"]) == (202, True)


async def test_one_at_a_time_cancelled_until_it_is_tried(cloud: Cloud) -> None:
    await cloud.register("press-7")
    order = await ordered(cloud)
    is_problem(await post(cloud, document(6)), 409, "configuration 5", order)
    cancel = f"/api/v1/configurations/{order}/cancel"
    answer = await cloud.people.post(cancel, json={"reason": "wrong document"})
    assert (answer.json()["status"], answer.json()["detail"]) == ("failed", "cancelled: wrong document")
    second = await ordered(cloud)
    await told(cloud, second, "trial")
    is_problem(
        await cloud.people.post(f"/api/v1/configurations/{second}/cancel", json={"reason": "late"}), 409, "trial"
    )
    await told(cloud, second, "refused", "4.03 relays: a change needs the site's signature")
    found = await seen(cloud, second)
    assert (found["status"], "site's signature" in found["detail"]) == ("refused", True)
    is_problem(await cloud.people.get(f"/api/v1/configurations/{'0' * 36}"), 404)
    is_problem(
        await cloud.people.post("/api/v1/nodes/oven-1/configurations", content=document(node="oven-1"), params=WISH),
        404,
    )


async def test_nobody_waits_for_ever(cloud: Cloud) -> None:
    await cloud.register("press-7")
    untaken = await ordered(cloud)
    cloud.clock.advance(3600)
    await cloud.services.configurations.sweep()
    assert (await seen(cloud, untaken))["status"] == "failed"
    removed = await ordered(cloud)
    assert (await cloud.people.delete("/api/v1/nodes/press-7")).status_code == 204
    found = await seen(cloud, removed)
    assert (found["status"], found["audit"][-1]["actor"]) == ("failed", "cloud")


async def test_the_log_is_append_only(cloud: Cloud) -> None:
    await cloud.register("press-7")
    await ordered(cloud)
    for statement in ("UPDATE configuration_audit SET actor = 'b'", "DELETE FROM configuration_audit"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with cloud.services.database.writing() as session:
                await session.execute(text(statement))


@pytest.mark.parametrize("current", ConfigurationStatus)
@pytest.mark.parametrize("wanted", ConfigurationStatus)
def test_no_step_goes_back_or_leaves_an_end(current: ConfigurationStatus, wanted: ConfigurationStatus) -> None:
    order = ["requested", "sent", "trial", "end"]
    places = [order.index("end" if status in LIFE.final else status) for status in (current, wanted)]
    assert LIFE.may_step(current, wanted) == (places[0] < places[1])


def test_the_stream_has_the_open_ones_and_no_document(start_server: StartServer) -> None:
    factory = Factory(start_server(site_key=SITE_KEY))
    factory.register("press-7")
    with factory.following() as stream:

        def lists() -> list[list[dict[str, Any]]]:
            return [data["configurations"] for name, _, data in stream.events if name == "configurations"]

        wait_until(lambda: lists() == [[]])
        signature = sign(document(), KEY)
        url = "/api/v1/nodes/press-7/configurations"
        order = factory.http.post(url, content=document(), params={**WISH, "sig": signature}).json()
        wait_until(lambda: [item["id"] for item in lists()[-1]] == [order["id"]], LIMIT_S)
        (entry,) = lists()[-1]
        wanted = {"node": "press-7", "revision": 5, "size": len(document()), "signature": signature, "told": False}
        assert wanted.items() <= entry.items()
        assert PASSWORD not in json.dumps(stream.events)
        factory.post(f"/api/v1/configurations/{order['id']}/cancel", {"reason": "test"})
        wait_until(lambda: lists()[-1] == [], LIMIT_S)
