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
        "address": "coap://192.0.2.7:5683",
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
    answer = await cloud.people.post(adopt, json={"machine_id": "press-9"})
    assert answer.status_code == 201
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
    for bad in ({"nodes": [{**waiting("x"), "node": "Not A Label"}]}, {"nodes": [{**waiting("x"), "packs": -1}]}, {}):
        assert (await cloud.gateway.post(PATH, json=bad, headers=AS_GATEWAY)).status_code == 422
    assert (await cloud.people.get("/api/v1/quarantine")).json() == []
