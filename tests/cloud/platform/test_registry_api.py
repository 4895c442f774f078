"""The registry's API on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloud.platform.harness import is_problem

if TYPE_CHECKING:
    import pytest
    from cloud.platform.harness import Cloud

MACHINE: dict[str, Any] = {"id": "press-7", "name": "Press 7", "kind": "press", "site": "s", "area": "a", "line": "l"}


async def _version(cloud: Cloud, gateway: str = "gw-1") -> int:
    version: int = (await cloud.people.get(f"/api/v1/gateways/{gateway}")).json()["assets_version"]
    return version


async def test_a_machine_s_life(cloud: Cloud) -> None:
    made = await cloud.people.post("/api/v1/machines", json=MACHINE | {"ideal_cycle_s": 4.5})
    assert made.status_code == 201
    expected = MACHINE | {"ideal_cycle_s": 4.5, "created_ms": cloud.clock.now_ms, "nodes": []}
    assert made.json() == expected
    assert (await cloud.people.get("/api/v1/machines")).json() == [expected]
    changed = await cloud.people.patch("/api/v1/machines/press-7", json={"line": "l2", "ideal_cycle_s": None})
    assert changed.json() == expected | {"line": "l2", "ideal_cycle_s": None}
    assert (await cloud.people.get("/api/v1/machines/press-7")).json() == changed.json()
    assert (await cloud.people.delete("/api/v1/machines/press-7")).status_code == 204
    is_problem(await cloud.people.get("/api/v1/machines/press-7"), 404, "machine press-7")


async def test_what_exists_cannot_be_made_again(cloud: Cloud) -> None:
    await cloud.register()
    is_problem(await cloud.people.post("/api/v1/machines", json=MACHINE), 409, "press-7")
    is_problem(await cloud.people.post("/api/v1/gateways", json={"id": "gw-1", "name": "g"}), 409, "gw-1")
    await cloud.people.post("/api/v1/machines", json=MACHINE | {"id": "press-8"})
    node = {"id": "press-7", "machine_id": "press-8", "gateway_id": "gw-1"}
    is_problem(await cloud.people.post("/api/v1/nodes", json=node), 409, "node press-7")


async def test_a_machine_has_one_node(cloud: Cloud) -> None:
    await cloud.register()
    second = {"id": "other", "machine_id": "press-7", "gateway_id": "gw-1"}
    is_problem(await cloud.people.post("/api/v1/nodes", json=second), 409, "already has node press-7")
    await cloud.register("press-8")
    moved = await cloud.people.patch("/api/v1/nodes/press-8", json={"machine_id": "press-7"})
    is_problem(moved, 409, "already has node press-7")


async def test_what_is_in_use_cannot_be_removed(cloud: Cloud) -> None:
    await cloud.register()
    is_problem(await cloud.people.delete("/api/v1/machines/press-7"), 409, "node press-7")
    is_problem(await cloud.people.delete("/api/v1/gateways/gw-1"), 409, "node press-7")
    assert (await cloud.people.delete("/api/v1/nodes/press-7")).status_code == 204
    assert (await cloud.people.delete("/api/v1/machines/press-7")).status_code == 204
    assert (await cloud.people.delete("/api/v1/gateways/gw-1")).status_code == 204


async def test_a_node_needs_its_machine_and_gateway(cloud: Cloud) -> None:
    node = {"id": "n", "machine_id": "none", "gateway_id": "gw-1"}
    is_problem(await cloud.people.post("/api/v1/nodes", json=node), 422, "machine_id", "none")
    await cloud.people.post("/api/v1/machines", json=MACHINE)
    node = {"id": "n", "machine_id": "press-7", "gateway_id": "gw-9"}
    is_problem(await cloud.people.post("/api/v1/nodes", json=node), 422, "gateway_id", "gw-9")
    assert (await cloud.people.get("/api/v1/nodes")).json() == []


async def test_changes_that_a_gateway_must_know_bump_its_assets_version(cloud: Cloud) -> None:
    versions = [await _version(cloud)]
    await cloud.register()
    versions.append(await _version(cloud))
    await cloud.people.patch("/api/v1/machines/press-7", json={"line": "l9"})
    versions.append(await _version(cloud))
    await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "g"})
    await cloud.people.patch("/api/v1/nodes/press-7", json={"gateway_id": "gw-2"})
    versions.append(await _version(cloud))
    assert versions == [1, 2, 3, 4]
    assert await _version(cloud, "gw-2") == 2
    await cloud.people.delete("/api/v1/nodes/press-7")
    assert await _version(cloud, "gw-2") == 3
    assert await _version(cloud) == 4


async def test_a_gateway_s_token_is_shown_once_and_can_be_rotated(cloud: Cloud) -> None:
    made = (await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "g"})).json()
    assert len(made["token"]) >= 43
    shown = (await cloud.people.get("/api/v1/gateways/gw-2")).json()
    assert "token" not in shown
    assert await cloud.services.registry.gateway_of_token(made["token"]) == "gw-2"
    rotated = (await cloud.people.post("/api/v1/gateways/gw-2/token")).json()["token"]
    assert await cloud.services.registry.gateway_of_token(made["token"]) is None
    assert await cloud.services.registry.gateway_of_token(rotated) == "gw-2"


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"id": "Press 7"}, "body.id"),
    ({"id": "-a"}, "body.id"),
    ({"id": "a" * 64}, "body.id"),
    ({"id": "press-7\n"}, "body.id"),
    ({"site": ""}, "body.site"),
    ({"name": ""}, "body.name"),
    ({"name": "a\u0000b"}, "body.name"),
    ({"ideal_cycle_s": 0}, "body.ideal_cycle_s"),
    ({"colour": "red"}, "body.colour"),
]


async def test_bad_fields_are_named_and_change_nothing(cloud: Cloud, subtests: pytest.Subtests) -> None:
    for change, path in BAD_FIELDS:
        with subtests.test(change=change):
            answer = await cloud.people.post("/api/v1/machines", json=MACHINE | change)
            is_problem(answer, 422, path)
            assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert (await cloud.people.get("/api/v1/machines")).json() == []


async def test_a_change_does_not_take_null_for_what_must_be_there(cloud: Cloud) -> None:
    await cloud.register()
    is_problem(await cloud.people.patch("/api/v1/machines/press-7", json={"site": None}), 422, "body.site")


async def test_broken_json_and_unknown_paths_are_problems_too(cloud: Cloud) -> None:
    headers = {"content-type": "application/json"}
    is_problem(await cloud.people.post("/api/v1/machines", content=b"{", headers=headers), 400)
    is_problem(await cloud.people.get("/api/v1/nothing"), 404)
    is_problem(await cloud.people.put("/api/v1/machines"), 405)
    is_problem(await cloud.people.get("/api/v1/machines/Press%207"), 422, "path.machine")
