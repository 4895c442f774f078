"""Unknown nodes: told by their gateway, seen and adopted by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloud.platform.harness import GATEWAY_TOKEN, is_problem

if TYPE_CHECKING:
    import httpx
    from cloud.platform.harness import Cloud

PATH = "/api/v1/gateways/gw-1/quarantine"
AS_GATEWAY = {"Authorization": f"Token {GATEWAY_TOKEN}"}
MACHINE = {"id": "press-9", "name": "Press 9", "kind": "press", "site": "demo", "area": "a1", "line": "l1"}


def waiting(node: str) -> dict[str, Any]:
    return {
        "node": node, "first_ms": 1_764_000_000_000, "last_ms": 1_764_000_060_000, "packs": 12,
        "address": "coap://192.0.2.7:5683", "sent": {"temperature/0": 41.5, "relay/0": True, "temperature/1/fault": "crc"},
    }  # fmt: skip


async def tell(cloud: Cloud, *nodes: str) -> httpx.Response:
    report = {"nodes": [waiting(node) for node in nodes]}
    return await cloud.gateway.post(PATH, json=report, headers=AS_GATEWAY)


async def test_a_report_replaces_the_one_before(cloud: Cloud) -> None:
    for nodes in (("press-9", "oven-1"), ("press-9", "oven-1"), ("press-9",)):
        assert (await tell(cloud, *nodes)).status_code == 204
    assert (await cloud.people.get("/api/v1/quarantine")).json() == [{**waiting("press-9"), "gateway": "gw-1"}]
    await tell(cloud)
    assert (await cloud.people.get("/api/v1/quarantine")).json() == []


async def test_a_waiting_node_is_adopted(cloud: Cloud) -> None:
    await tell(cloud, "press-9", "oven-1")
    adopt = f"{PATH}/press-9/adopt"
    is_problem(await cloud.people.post(adopt, json={"machine_id": "press-9"}), 422, "press-9")
    assert (await cloud.people.post("/api/v1/machines", json=MACHINE)).status_code == 201
    answer = await cloud.people.post(adopt, json={"machine_id": "press-9", "reason": "mounted today"})
    assert answer.status_code == 201
    (entry,) = (await cloud.people.get("/api/v1/nodes/press-9/audit")).json()
    assert entry == {
        "action": "adopted", "machine_id": "press-9", "gateway_id": "gw-1", "actor": "api", "reason": "mounted today",
        "at_ms": cloud.clock(),
    }  # fmt: skip
    assert (await cloud.people.delete("/api/v1/nodes/press-9")).status_code == 204
    assert len((await cloud.people.get("/api/v1/nodes/press-9/audit")).json()) == 1, "the log outlives the node"
    await tell(cloud, "press-9", "oven-1")
    assert (await cloud.people.post(adopt, json={"machine_id": "press-9"})).status_code == 201
    node = (await cloud.people.get("/api/v1/nodes/press-9")).json()
    assert (node["machine_id"], node["gateway_id"]) == ("press-9", "gw-1")
    assert [item["node"] for item in (await cloud.people.get("/api/v1/quarantine")).json()] == ["oven-1"]
    is_problem(await cloud.people.post(adopt, json={"machine_id": "press-9"}), 404, "press-9")
    await tell(cloud, "press-9", "oven-1")  # the gateway has not heard yet
    assert [item["node"] for item in (await cloud.people.get("/api/v1/quarantine")).json()] == ["oven-1"]


async def test_only_the_gateway_tells_and_only_what_makes_sense(cloud: Cloud) -> None:
    stranger = await cloud.gateway.post(PATH, json={"nodes": []}, headers={"Authorization": "Token wrong"})
    assert stranger.status_code == 401
    other = await cloud.gateway.post("/api/v1/gateways/gw-2/quarantine", json={"nodes": []}, headers=AS_GATEWAY)
    assert other.status_code in (403, 404)
    sent = {str(number): 1 for number in range(65)}
    keys = {"kid": "0", "first_ms": 1, "last_ms": 1, "messages": 1, "address": ""}
    for bad in ({"nodes": [{**waiting("x"), "sent": sent}]}, {"nodes": [], "keys": [keys]}):
        assert (await cloud.gateway.post(PATH, json=bad, headers=AS_GATEWAY)).status_code == 422
    for bad in ({"nodes": [{**waiting("x"), "node": "Not A Label"}]}, {"nodes": [{**waiting("x"), "packs": -1}]}, {}):
        assert (await cloud.gateway.post(PATH, json=bad, headers=AS_GATEWAY)).status_code == 422
    assert (await cloud.people.get("/api/v1/quarantine")).json() == []


async def test_unknown_keys_lead_to_their_node_where_they_have_one(cloud: Cloud) -> None:
    await cloud.register("press-7")
    await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "Hall 2"})
    old = (await cloud.people.post("/api/v1/nodes/press-7/credentials")).json()["sender_id"]
    new = (await cloud.people.post("/api/v1/nodes/press-7/credentials")).json()["sender_id"]
    assert (await cloud.people.patch("/api/v1/nodes/press-7", json={"gateway_id": "gw-2"})).status_code == 200
    heard = {"first_ms": 1, "last_ms": 2, "messages": 3, "address": "coap://192.0.2.8:5683"}
    told = [heard | {"kid": kid, "node": "press-7"} for kid in (old, new, "ffffffffffffff", "")]
    answer = await cloud.gateway.post(PATH, json={"nodes": [], "keys": told}, headers=AS_GATEWAY)
    assert answer.status_code == 204, answer.text
    found = {item["kid"]: item for item in (await cloud.people.get("/api/v1/quarantine/keys")).json()}
    assert found[new] == heard | {
        "kid": new, "node": "press-7", "gateway": "gw-1", "owner": "press-7", "owner_gateway": "gw-2",
    }  # fmt: skip
    assert [found[kid]["owner"] for kid in (old, "ffffffffffffff", "")] == [None] * 3, "replaced keys are nobody's"
    await tell(cloud)
    assert (await cloud.people.get("/api/v1/quarantine/keys")).json() == []
