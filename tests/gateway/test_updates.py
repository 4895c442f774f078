"""Firmware updates at the gateway: the verdict against a model of the node, and the running gateway with an aiocoap node."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from aiocoap import resource
from gateway.oscore_peer import OscoreNode
from gateway.test_commands import until
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.orders.step import Step
from andon_gateway.updates.status import NodeStatus, Tell, Wait, judge, parse_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.gateway_process import GatewayProcess
    from gateway.stand_in_cloud import StandInCloud

BUNDLE = b"ANDONFW1" + bytes(3000)
NAME, VERSION, BEFORE = "new.fw", "1.1.0", "1.0.0"


# --- the verdict, pure --------------------------------------------------------------------------------------------------


@dataclass
class ModelNode:
    """What docs/protocol.md and docs/firmware.md say about a node's updates; `last` in RAM goes with a loss of power."""

    version: str = BEFORE
    job: bool = False
    trial: bool = False
    kept_last: str = ""
    ram_last: str = ""

    def put(self) -> bool:
        if self.trial:
            return False
        self.job = True
        return True

    def act(self, what: str) -> str | None:
        """Something that the node does by itself; the end of an update, if it is one."""
        if what == "power":
            self.ram_last = ""
        elif what == "fail" and self.job:
            self.job, self.ram_last = False, f"failed {VERSION}: signature"
            return "failed"
        elif what == "activate" and self.job:
            self.job, self.ram_last, self.kept_last, self.trial, self.version = False, "", "", True, VERSION
        elif what == "confirm" and self.trial:
            self.trial, self.kept_last = False, "confirmed"
            return "confirmed"
        elif what == "roll back" and self.trial:
            self.trial, self.version, self.ram_last = False, BEFORE, ""
            self.kept_last = f"rolled back {VERSION}: crash"
            return "rolled-back"
        return None

    def status(self) -> NodeStatus:
        state = "fetching" if self.job else "trial" if self.trial else "idle"
        name = NAME if self.job else None
        return NodeStatus(self.version, "app_a", state, name, 0, None, self.ram_last or self.kept_last)


EVENTS = [
    "look",
    "look, PUT is lost",
    "look, the answer to PUT is lost",
    "power",
    "fail",
    "activate",
    "confirm",
    "roll back",
]


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(["", "confirmed", f"rolled back {VERSION}: crash", "failed 1.0.5: signature"]),
    st.lists(st.sampled_from(EVENTS), max_size=30),
)
def test_the_verdict_is_what_happened(stale: str, events: list[str]) -> None:
    """Whatever the node does and whichever answers are lost: an end is told only when it is one, and it is the right one."""
    node = ModelNode(kept_last=stale)
    before: str | None = None
    told = False
    truth: list[str] = []
    for event in [*events, "look", "look", "activate", "look", "confirm", "look"]:
        if not event.startswith("look"):
            end = node.act(event)
            truth += [end] if end else []
            continue
        verdict = judge(node.status(), name=NAME, version=VERSION, before=before, told=told)
        if isinstance(verdict, Tell):
            before = node.status().last
            told = event != "look, PUT is lost" and node.put() and event == "look"
        elif isinstance(verdict, Step) and verdict.state in ("confirmed", "failed", "rolled-back"):
            assert truth, f"{verdict} before anything ended"
            # A node that loses its power after a failure may still say how an earlier try of the same version ended.
            unclear = told and before == node.status().last and VERSION in before
            assert verdict.state == truth[-1] or (unclear and truth[-1] == "failed")
            return
        elif isinstance(verdict, Step):
            told = True
            assert verdict.state == ("trial" if node.trial else "fetching")
    pytest.fail("the node is idle with the new version, and that is no end")


def test_a_node_that_is_busy_with_something_else_is_left_alone() -> None:
    busy = NodeStatus(BEFORE, "base", "fetching", "other.fw", 0, None, "")
    trial = NodeStatus("1.0.5", "app_b", "trial", None, 0, None, "")
    recovery = NodeStatus(VERSION, "recovery", "idle", None, 0, None, "")
    for status in (busy, trial):
        assert isinstance(judge(status, name=NAME, version=VERSION, before=None, told=False), Wait)
    assert isinstance(judge(recovery, name=NAME, version=VERSION, before=None, told=False), Tell)


@given(st.one_of(st.binary(), st.from_type(object).map(repr).map(str.encode)))
def test_an_unreadable_status_is_none(payload: bytes) -> None:
    assert parse_status(payload) is None or b"version" in payload


# --- the running gateway ------------------------------------------------------------------------------------------------


class Update(resource.Resource):  # type: ignore[misc]  # untyped base
    """`/update` of a node in this process, which does what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelNode()
        self.name: str | None = None
        self.puts: list[dict[str, Any]] = []
        self.deleted = 0
        self.refusal: aiocoap.Message | None = None

    async def render_get(self, _request: Any) -> aiocoap.Message:
        status = self.model.status()
        body = {
            "version": status.version, "running": status.running, "state": status.state,
            "name": self.name if self.model.job else None, "target": None, "received": 1024, "total": None,
            "last": status.last,
        }  # fmt: skip
        return aiocoap.Message(code=aiocoap.CONTENT, payload=json.dumps(body).encode(), content_format=50)

    async def render_put(self, request: Any) -> aiocoap.Message:
        if self.refusal is not None:
            return self.refusal
        body = json.loads(request.payload)
        self.puts.append(body)
        self.name = body["name"]
        self.model.put()
        return aiocoap.Message(code=aiocoap.CHANGED, payload=b"{}")

    async def render_delete(self, _request: Any) -> aiocoap.Message:
        self.deleted += 1
        self.model.job = False
        return aiocoap.Message(code=aiocoap.DELETED)


def order(update: str = "u-1", data: bytes = BUNDLE, *, lives_s: float = 600) -> dict[str, Any]:
    return {
        "id": update, "node": "press-7", "version": VERSION, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
        "expires_ms": round((time.time() + lives_s) * 1000),
    }  # fmt: skip


@pytest.fixture
async def update(gateway: GatewayProcess, cloud: StandInCloud) -> AsyncIterator[Update]:
    """A node's `/update`; the node has registered."""
    cloud.bundles[order()["sha256"]] = BUNDLE
    cloud.mount("press-7")
    gateway.start()
    served, site = Update(), resource.Site()
    site.add_resource(["update"], served)
    async with OscoreNode(None, gateway.coap_port, site) as node:
        await node.ask(aiocoap.POST, "rd?ep=press-7&lt=600&ver=1.0.0&cfg=4")
        yield served


async def test_from_the_order_to_the_confirmation_over_a_kill(
    gateway: GatewayProcess, cloud: StandInCloud, update: Update
) -> None:
    cloud.order_updates(order())
    await until(lambda: update.puts, "the node to be told")
    (body,) = update.puts
    assert body["version"] == VERSION
    assert (gateway.state_dir / "fw" / body["name"]).read_bytes() == BUNDLE
    await until(lambda: ("u-1", {"received": 1024, "total": None}) in cloud.progress, "progress")
    gateway.kill()
    update.model.act("activate")
    gateway.start()
    await until(lambda: "trial" in cloud.reported("u-1"), "the trial")
    update.model.act("confirm")
    await until(lambda: cloud.reported("u-1")[-1] == "confirmed", "the end")
    assert list(dict.fromkeys(cloud.reported("u-1"))) == ["sent", "fetching", "trial", "confirmed"]
    assert (len(update.puts), cloud.fetches) == (1, 1)
    cloud.order_updates()
    await until(lambda: not list((gateway.state_dir / "fw").iterdir()), "the bundle to be removed")


async def test_what_the_node_refuses_or_rolls_back_is_told(cloud: StandInCloud, update: Update) -> None:
    update.refusal = aiocoap.Message(code=aiocoap.PRECONDITION_FAILED, payload=b"no site key on this node")
    cloud.order_updates(order("u-1"))
    await until(lambda: "failed" in cloud.reported("u-1"), "the refusal")
    assert "no site key" in cloud.reports[-1][1]["detail"]
    update.refusal = None
    cloud.order_updates(order("u-2"))
    await until(lambda: update.puts, "the node to be told")
    update.model.act("activate")
    update.model.act("roll back")
    await until(lambda: "rolled-back" in cloud.reported("u-2"), "the end")
    assert cloud.reports[-1][1]["detail"] == f"rolled back {VERSION}: crash"


async def test_a_bundle_that_is_another_is_never_served(
    gateway: GatewayProcess, cloud: StandInCloud, update: Update
) -> None:
    for number, data in enumerate((BUNDLE[:-1] + b"x", BUNDLE[:-1], BUNDLE + b"x")):
        cloud.bundles[order()["sha256"]] = data
        cloud.order_updates(order(f"u-{number}"))
        await until(lambda number=number: "failed" in cloud.reported(f"u-{number}"), "the end")  # type: ignore[misc]
    cloud.bundles.clear()
    cloud.order_updates(order("u-9"))
    await until(lambda: "failed" in cloud.reported("u-9"), "the end")
    assert list((gateway.state_dir / "fw").iterdir()) == []
    assert update.puts == []


async def test_a_dropped_update_is_cancelled_at_the_node(cloud: StandInCloud, update: Update) -> None:
    cloud.order_updates(order())
    await until(lambda: update.puts, "the node to be told")
    cloud.order_updates()
    await until(lambda: update.deleted, "DELETE /update")
    assert not update.model.job


async def test_an_update_that_expires_at_a_silent_node_fails(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    cloud.bundles[order()["sha256"]] = BUNDLE
    gateway.start()
    cloud.order_updates(order(lives_s=1.5))
    await until(lambda: cloud.reported("u-1") == ["sent", "failed"], "the end")
    assert "has not registered" in cloud.reports[-1][1]["detail"]


async def test_the_cloud_hears_what_nodes_run(gateway: GatewayProcess, cloud: StandInCloud, update: Update) -> None:
    def said() -> tuple[Any, Any]:
        found = cloud.nodes.get("press-7", {})
        return found.get("version"), found.get("revision")

    await until(lambda: said() == ("1.0.0", 4), "the report")
    assert cloud.nodes["press-7"]["seen_ms"] == pytest.approx(time.time() * 1000, abs=60_000)
    async with OscoreNode(None, gateway.coap_port) as node:
        assert (await node.ask(aiocoap.POST, "rd/press-7?lt=600")).code == aiocoap.CHANGED
        gateway.kill()
        cloud.nodes.clear()
        gateway.start()
        await until(lambda: said() == ("1.0.0", 4), "the report after a restart: a renewal says nothing, the disk does")
        for query in ("ver=1.1.0&cfg=5", "ver=%00&cfg=-1", "ver=2.0.0"):
            assert (await node.ask(aiocoap.POST, f"rd?ep=press-7&{query}")).code == aiocoap.CREATED
            wanted = {"ver=1.1.0&cfg=5": ("1.1.0", 5), "ver=2.0.0": ("2.0.0", None)}.get(query, (None, None))
            await until(lambda wanted=wanted: said() == wanted, query)  # type: ignore[misc]
    assert update.puts == []
