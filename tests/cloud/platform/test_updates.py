"""Firmware bundles and updates through the API: what is taken, who may say what, and that no end is lost or taken back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from cloud.platform.harness import LIMIT_S, is_problem, wait_until
from cloud.platform.test_stream import Factory
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from andon_cloud.settings import SettingsError, load
from andon_cloud.updates.lifecycle import LIFE, UpdateStatus
from andon_workbench.bundle.format import Bundle
from andon_workbench.bundle.keys import sign

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.platform.harness import Cloud, StartServer

    from andon_cloud.settings import Settings

# Bundles are made by the workbench, an implementation of the format that knows nothing of the cloud's.
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SITE_KEY = KEY.public_key().public_bytes_raw().hex()
FILES = {"andon_node/a.mpy": b"M" * 3000, "andon_node/b.mpy": b"N" * 10}
WISH = {"reason": "test", "expires_s": 3600}


def bundle(version: str = "1.1.0", key: Ed25519PrivateKey = KEY, **fields: Any) -> bytes:
    return sign(Bundle(version, FILES, **fields), key).encode()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"site_key": SITE_KEY})


async def uploaded(cloud: Cloud, data: bytes) -> dict[str, Any]:
    answer = await cloud.people.post("/api/v1/firmware", content=data)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ordered(cloud: Cloud, version: str = "1.1.0") -> str:
    kept = await uploaded(cloud, bundle(version))
    answer = await cloud.people.post("/api/v1/nodes/press-7/update", json={"sha256": kept["sha256"], **WISH})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def told(cloud: Cloud, update: str, state: str, detail: str = "") -> int:
    body = {"state": state, "at_ms": cloud.clock(), "detail": detail}
    answer = await cloud.gateway.post(f"/api/v1/gateways/gw-1/updates/{update}/events", json=body)
    return answer.status_code


async def seen(cloud: Cloud, update: str) -> dict[str, Any]:
    found: dict[str, Any] = (await cloud.people.get(f"/api/v1/updates/{update}")).json()
    return found


async def test_a_bundle_is_kept_once_and_given_to_gateways_whole(cloud: Cloud) -> None:
    data = bundle(downgrade=True)
    first = await cloud.people.post("/api/v1/firmware", content=data)
    again = await cloud.people.post("/api/v1/firmware", content=data)
    assert (first.status_code, again.status_code) == (201, 200)
    digest = hashlib.sha256(data).hexdigest()
    kept = first.json()
    assert again.json() == kept
    assert (kept["sha256"], kept["version"], kept["size"]) == (digest, "1.1.0", len(data))
    assert (kept["kind"], kept["downgrade"], kept["verified"]) == ("app", True, True)
    assert (await cloud.people.get("/api/v1/firmware")).json() == [kept]
    path = f"/api/v1/gateways/gw-1/firmware/{digest}"
    fetched = await cloud.gateway.get(path)
    assert (fetched.content, fetched.headers["etag"]) == (data, f'"{digest}"')
    assert (await cloud.gateway.get(path, headers={"If-None-Match": f'"{digest}"'})).status_code == 304
    is_problem(await cloud.people.get(path), 401)
    is_problem(await cloud.gateway.get(f"/api/v1/gateways/gw-1/firmware/{'0' * 64}"), 404)


async def test_what_no_node_would_take_is_refused(cloud: Cloud) -> None:
    good = bundle()
    unsigned = Bundle("1.1.0", FILES).encode()
    spoilt = bytearray(good)
    spoilt[-1] ^= 1
    head = bytearray(good)
    head[90] ^= 1
    for data, word in (
        (b"", "no bundle"),
        (b"ANDONFW1", "no bundle"),
        (good[:200], "no bundle"),
        (unsigned, "not signed"),
        (bundle(key=OTHER_KEY), "signature"),
        (bytes(head), "signature"),
        (bytes(spoilt), "SHA-256"),
        (good[:-1], "SHA-256"),
        (good + b"x", "bytes of files"),
    ):
        is_problem(await cloud.people.post("/api/v1/firmware", content=data), 422, word)
    is_problem(await cloud.people.post("/api/v1/firmware", content=bytes((8 << 20) + 1)), 413)
    assert (await cloud.people.get("/api/v1/firmware")).json() == []


async def test_an_update_goes_its_way_once(cloud: Cloud) -> None:
    await cloud.register("press-7")
    update = await ordered(cloud)
    for state in ("sent", "sent", "fetching", "fetching"):
        cloud.clock.advance(1)
        assert await told(cloud, update, state) == 204
    progress = f"/api/v1/gateways/gw-1/updates/{update}/progress"
    assert (await cloud.gateway.post(progress, json={"received": 2048, "total": 3000})).status_code == 204
    found = await seen(cloud, update)
    assert (found["status"], found["received"], found["total"]) == ("fetching", 2048, 3000)
    for state in ("trial", "confirmed", "fetching", "rolled-back", "confirmed"):
        cloud.clock.advance(1)
        assert await told(cloud, update, state) == 204
    found = await seen(cloud, update)
    assert (found["status"], found["version"], found["node"]) == ("confirmed", "1.1.0", "press-7")
    steps = [(entry["status"], entry["applied"], entry["actor"]) for entry in found["audit"]]
    way = ["requested", "sent", "fetching", "trial", "confirmed"]
    assert [step[0] for step in steps if step[1]] == way == sorted(found["times"], key=found["times"].__getitem__)
    assert [step for step in steps if not step[1]] == [("rolled-back", False, "gateway:gw-1")]
    assert steps[0][2] == "api"
    assert [item["id"] for item in (await cloud.people.get("/api/v1/nodes/press-7/updates")).json()] == [update]


@pytest.mark.parametrize("current", UpdateStatus)
@pytest.mark.parametrize("wanted", UpdateStatus)
def test_no_step_goes_back_or_leaves_an_end(current: UpdateStatus, wanted: UpdateStatus) -> None:
    order = ["requested", "sent", "fetching", "trial", "end"]
    places = [order.index("end" if status in LIFE.final else status) for status in (current, wanted)]
    assert LIFE.may_step(current, wanted) == (places[0] < places[1])


async def test_one_update_at_a_time_for_a_node_of_ours(cloud: Cloud) -> None:
    await cloud.register("press-7")
    update = await ordered(cloud)
    kept = await uploaded(cloud, bundle("1.2.0"))
    body = {"sha256": kept["sha256"], **WISH}
    is_problem(await cloud.people.post("/api/v1/nodes/press-7/update", json=body), 409, "1.1.0", update)
    is_problem(await cloud.people.post("/api/v1/nodes/oven-1/update", json=body), 404, "oven-1")
    unknown = {"sha256": "0" * 64, **WISH}
    is_problem(await cloud.people.post("/api/v1/nodes/press-7/update", json=unknown), 422, "upload")
    await told(cloud, update, "failed", "full flash")
    assert (await seen(cloud, update))["detail"] == "full flash"
    assert (await cloud.people.post("/api/v1/nodes/press-7/update", json=body)).status_code == 202


async def test_only_the_nodes_own_gateway_tells(cloud: Cloud) -> None:
    await cloud.register("press-7")
    update = await ordered(cloud)
    token = (await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "Hall 2"})).json()["token"]
    as_other = {"Authorization": f"Token {token}"}
    for path, body in (
        ("events", {"state": "confirmed", "at_ms": cloud.clock()}),
        ("progress", {"received": 1}),
    ):
        url = f"/api/v1/gateways/gw-2/updates/{update}/{path}"
        is_problem(await cloud.gateway.post(url, json=body, headers=as_other), 404)
        url = url.replace("gw-2", "gw-1")
        is_problem(await cloud.gateway.post(url, json=body, headers=as_other), 403)
    assert (await seen(cloud, update))["status"] == "requested"


async def test_cancelling(cloud: Cloud) -> None:
    await cloud.register("press-7")
    update = await ordered(cloud)
    cancel = f"/api/v1/updates/{update}/cancel"
    kept = (await seen(cloud, update))["sha256"]
    is_problem(await cloud.people.delete(f"/api/v1/firmware/{kept}"), 409, "press-7")
    answer = await cloud.people.post(cancel, json={"reason": "wrong bundle"})
    assert (answer.json()["status"], answer.json()["detail"]) == ("failed", "cancelled: wrong bundle")
    is_problem(await cloud.people.post(cancel, json={"reason": "again"}), 409, "failed")
    second = await ordered(cloud)
    await told(cloud, second, "trial")
    is_problem(await cloud.people.post(f"/api/v1/updates/{second}/cancel", json={"reason": "late"}), 409, "trial")
    await told(cloud, second, "confirmed")
    assert (await cloud.people.delete(f"/api/v1/firmware/{kept}")).status_code == 204
    assert (await seen(cloud, second))["version"] == "1.1.0", "the record outlives the bundle"


async def test_nobody_waits_for_ever(cloud: Cloud) -> None:
    await cloud.register("press-7")
    untaken = await ordered(cloud)
    cloud.clock.advance(3599)
    await cloud.services.updates.sweep()
    assert (await seen(cloud, untaken))["status"] == "requested"
    cloud.clock.advance(1)
    await cloud.services.updates.sweep()
    assert (await seen(cloud, untaken))["status"] == "failed"
    silent = await ordered(cloud)
    await told(cloud, silent, "sent")
    cloud.clock.advance(3600 + 599)
    await cloud.services.updates.sweep()
    assert (await seen(cloud, silent))["status"] == "sent", "its gateway may be cut off"
    cloud.clock.advance(1)
    await cloud.services.updates.sweep()
    found = await seen(cloud, silent)
    assert (found["status"], "no end" in found["detail"]) == ("failed", True)
    removed = await ordered(cloud)
    assert (await cloud.people.delete("/api/v1/nodes/press-7")).status_code == 204
    found = await seen(cloud, removed)
    assert (found["status"], found["audit"][-1]["actor"]) == ("failed", "cloud")


async def test_the_log_of_updates_is_append_only(cloud: Cloud) -> None:
    await cloud.register("press-7")
    await ordered(cloud)
    for statement in ("UPDATE update_audit SET actor = 'b'", "DELETE FROM update_audit"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with cloud.services.database.writing() as session:
                await session.execute(text(statement))


async def test_what_nodes_run_is_told_by_their_own_gateway(cloud: Cloud) -> None:
    await cloud.register("press-7")
    token = (await cloud.people.post("/api/v1/gateways", json={"id": "gw-2", "name": "Hall 2"})).json()["token"]
    as_other = {"Authorization": f"Token {token}"}
    nothing = {"firmware": None, "revision": None, "seen_ms": None}
    assert nothing.items() <= (await cloud.people.get("/api/v1/nodes/press-7")).json().items()
    report = {
        "nodes": [{"node": "press-7", "version": "1.3.0", "revision": 4, "seen_ms": 5}, {"node": "x", "seen_ms": 5}]
    }
    answer = await cloud.gateway.post("/api/v1/gateways/gw-2/nodes", json=report, headers=as_other)
    assert answer.status_code == 204
    assert nothing.items() <= (await cloud.people.get("/api/v1/nodes/press-7")).json().items()
    assert (await cloud.gateway.post("/api/v1/gateways/gw-1/nodes", json=report)).status_code == 204
    said = {"firmware": "1.3.0", "revision": 4, "seen_ms": 5}
    assert said.items() <= (await cloud.people.get("/api/v1/nodes")).json()[0].items()


def test_the_stream_has_all_open_updates_and_no_other(start_server: StartServer) -> None:
    factory = Factory(start_server(site_key=SITE_KEY))
    factory.register("press-7")
    with factory.following() as stream:

        def lists() -> list[list[str]]:
            return [[item["id"] for item in data["updates"]] for name, _, data in stream.events if name == "updates"]

        wait_until(lambda: lists() == [[]])
        data = bundle()
        kept = factory.http.post("/api/v1/firmware", content=data).json()
        update = factory.post("/api/v1/nodes/press-7/update", {"sha256": kept["sha256"], **WISH})
        wait_until(lambda: lists()[-1] == [update["id"]], LIMIT_S)
        entry = next(data["updates"][0] for name, _, data in stream.events if name == "updates" and data["updates"])
        wanted = {
            "id": update["id"],
            "node": "press-7",
            "version": "1.1.0",
            "sha256": kept["sha256"],
            "size": len(data),
        }
        assert wanted.items() <= entry.items()
        with factory.following() as second:
            wait_until(lambda: [name for name, _, _ in second.events][-1:] == ["updates"])
        factory.post(f"/api/v1/updates/{update['id']}/cancel", {"reason": "test"})
        wait_until(lambda: lists()[-1] == [], LIMIT_S)


def test_a_site_key_that_is_none_is_one_line(tmp_path: Path) -> None:
    for key in ("abc", "z" * 64):
        with pytest.raises(SettingsError, match=r"ANDON_CLOUD_SITE_KEY.*64 hexadecimal"):
            load(data_dir=tmp_path, site_key=key)
