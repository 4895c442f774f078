"""The nodes' keys: made once, shown once, told to the node's gateway and to nobody else."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from cloud.platform.harness import is_problem, wait_until
from cloud.platform.test_stream import Factory

if TYPE_CHECKING:
    from cloud.platform.harness import Cloud, StartServer


async def test_keys_are_made_and_rotated(cloud: Cloud) -> None:
    is_problem(await cloud.people.post("/api/v1/nodes/press-7/credentials"), 404, "press-7")
    await cloud.register("press-7")
    await cloud.register("oven-1")
    answers = [
        await cloud.people.post(f"/api/v1/nodes/{node}/credentials") for node in ("press-7", "oven-1", "press-7")
    ]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    made: list[dict[str, Any]] = [answer.json() for answer in answers]
    assert [document["node"] for document in made] == ["press-7", "oven-1", "press-7"]
    for document in made:
        assert re.fullmatch("[0-9a-f]{32}", document["secret"])
        assert re.fullmatch("[0-9a-f]{16}", document["salt"])
        assert document["recipient_id"] == "00"
    assert len({document["secret"] for document in made}) == 3
    assert [document["sender_id"] for document in made] == ["01", "02", "03"], "no id is given out twice"


async def test_no_other_answer_shows_keys(cloud: Cloud) -> None:
    await cloud.register("press-7")
    secret = (await cloud.people.post("/api/v1/nodes/press-7/credentials")).json()["secret"]
    for path in ("nodes", "nodes/press-7", "machines", "machines/press-7", "gateways", "gateways/gw-1"):
        answer = await cloud.people.get(f"/api/v1/{path}")
        assert answer.status_code == 200
        assert secret not in answer.text
    assert (await cloud.people.get("/api/v1/nodes/press-7/credentials")).status_code == 405


async def test_a_removed_node_leaves_no_keys(cloud: Cloud) -> None:
    await cloud.register("press-7")
    await cloud.people.post("/api/v1/nodes/press-7/credentials")
    assert (await cloud.people.delete("/api/v1/nodes/press-7")).status_code == 204
    await cloud.people.post("/api/v1/nodes", json={"id": "press-7", "machine_id": "press-7", "gateway_id": "gw-1"})
    assert (await cloud.people.post("/api/v1/nodes/press-7/credentials")).json()["sender_id"] == "02"


def test_only_the_nodes_gateway_hears_of_keys(start_server: StartServer) -> None:
    factory = Factory(start_server())
    factory.register("press-7")
    factory.post("/api/v1/gateways", {"id": "gw-2", "name": "Hall 2"})
    with factory.following() as stream:

        def tables() -> list[dict[str, Any]]:
            return [data["nodes"] for name, _, data in stream.events if name == "credentials"]

        def is_newest(table: dict[str, Any]) -> bool:
            return tables()[-1:] == [table]

        wait_until(partial(is_newest, {}))
        for _ in range(2):
            made = factory.post("/api/v1/nodes/press-7/credentials", {})
            keys = {key: value for key, value in made.items() if key not in {"node", "created_ms"}}
            wait_until(partial(is_newest, {"press-7": keys}))
        answer = factory.http.patch("/api/v1/nodes/press-7", json={"gateway_id": "gw-2"})
        assert answer.is_success
        wait_until(partial(is_newest, {}))
