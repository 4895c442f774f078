"""Configurations at the gateway: the verdict against a model of the node, and the running gateway with an aiocoap node."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from aiocoap import resource
from gateway.oscore_peer import OscoreNode, keys
from gateway.stand_in_cloud import StandInCloud, wait_until
from gateway.test_commands import until
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.configurations.status import Before, NodeHealth, Tell, Wait, judge, parse_health
from andon_gateway.orders.step import Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.gateway_process import GatewayProcess

OURS, BEFORE = 5, 4
SILENT = "rolled back: the gateway was not reached within 120 s"


# --- the verdict, pure --------------------------------------------------------------------------------------------------


@dataclass
class ModelNode:
    """What docs/protocol.md says about a node's configurations: one candidate, used from the next start on."""

    boot: int = 7
    revision: int = BEFORE
    trial: bool = False
    refused: str | None = None
    candidate: bool = False
    takes: int = 0

    def put(self) -> bool:
        """Whether the document is taken."""
        if self.trial or self.revision >= OURS:
            return False
        self.candidate = True
        self.takes += 1
        return True

    def act(self, what: str) -> str | None:
        """Something that the node does by itself; the end of the configuration, if it is one."""
        if what == "start":
            self.boot += 1
            if self.candidate:
                self.candidate, self.trial, self.revision = False, True, OURS
        elif what == "reach" and self.trial:
            self.trial, self.refused = False, None
            return "confirmed"
        elif what == "give up" and self.trial:
            self.trial, self.revision, self.refused = False, BEFORE, SILENT
            self.boot += 1
            return "rolled-back"
        return None

    def health(self) -> NodeHealth:
        return NodeHealth(self.boot, self.revision, self.trial, self.refused)


EVENTS = ["look", "look, PUT is lost", "look, the answer to PUT is lost", "start", "reach", "give up"]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from([None, SILENT, "rolled back: 3 starts"]), st.lists(st.sampled_from(EVENTS), max_size=30))
def test_the_verdict_is_what_happened(stale: str | None, events: list[str]) -> None:
    """Whatever is lost and whenever the node starts: an end is told only when it is one, and what failed is never sent again."""
    node = ModelNode(refused=stale)
    before: Before | None = None
    told = False
    truth: str | None = None
    for event in [*events, "look", "start", "look", "start", "reach", "look"]:
        if not event.startswith("look"):
            truth = node.act(event) or truth
            continue
        verdict = judge(node.health(), revision=OURS, before=before, told=told)
        if isinstance(verdict, Tell):
            assert truth is None, "told again after it had ended"
            before = Before.parse(Before.of(node.health()).text())
            told = event != "look, PUT is lost" and node.put() and event == "look"
        elif isinstance(verdict, Step) and verdict.state in ("confirmed", "rolled-back"):
            assert verdict.state == truth
            return
        elif isinstance(verdict, Step) and verdict.state == "failed":
            # The answer was lost, the node has started since, and says the same words as before.
            assert (told, node.refused) == (False, stale)
            return
        elif isinstance(verdict, Step):
            assert node.candidate or node.trial
    pytest.fail("the node runs the document, and that is no end")


def test_a_node_that_is_busy_is_left_alone_and_one_in_recovery_is_helped() -> None:
    trial = NodeHealth(8, 3, trial=True, refused=None)
    assert isinstance(judge(trial, revision=OURS, before=None, told=False), Wait)
    recovery = parse_health(b'{"recovery": "no usable config.json", "uptime_s": 5}')
    assert recovery is not None
    assert isinstance(judge(recovery, revision=OURS, before=None, told=False), Tell)
    assert isinstance(judge(recovery, revision=OURS, before=None, told=True), Wait)


def test_what_another_gateway_told_is_judged_here() -> None:
    """After a move, or after this gateway lost its disk: the cloud says that the node has taken it."""
    for health, state in (
        (NodeHealth(9, OURS, trial=False, refused=None), "confirmed"),
        (NodeHealth(9, OURS, trial=True, refused=None), "trial"),
        (NodeHealth(9, BEFORE, trial=False, refused=SILENT), "rolled-back"),
        (NodeHealth(9, BEFORE, trial=False, refused=None), "failed"),
    ):
        verdict = judge(health, revision=OURS, before=None, told=True)
        assert isinstance(verdict, Step)
        assert verdict.state == state


@given(st.one_of(st.binary(), st.from_type(object).map(repr).map(str.encode)))
def test_an_unreadable_health_is_none(payload: bytes) -> None:
    assert parse_health(payload) is None or b"revision" in payload


# --- the running gateway ------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """`/config` and `/health` of a node in this process, which does what the test says."""

    model: ModelNode = field(default_factory=ModelNode)
    taken: list[tuple[bytes, tuple[str, ...]]] = field(default_factory=list)
    refusal: aiocoap.Message | None = None
    silent: bool = False

    def site(self) -> resource.Site:
        site = resource.Site()
        site.add_resource(["config"], Config(self))
        site.add_resource(["health"], Health(self))
        return site


class Config(resource.Resource):  # type: ignore[misc]  # untyped base
    """PUT; aiocoap puts the blocks together."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    async def render_put(self, request: Any) -> aiocoap.Message:
        if self._node.refusal is not None:
            return self._node.refusal
        self._node.taken.append((request.payload, request.opt.uri_query))
        self._node.model.put()
        if self._node.silent:
            return aiocoap.Message(code=aiocoap.SERVICE_UNAVAILABLE, payload=b"as good as no answer")
        return aiocoap.Message(code=aiocoap.CHANGED, payload=b'{"revision": 5, "trial": true}')


class Health(resource.Resource):  # type: ignore[misc]  # untyped base
    """GET."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    async def render_get(self, _request: Any) -> aiocoap.Message:
        model = self._node.model
        body = {"boot": model.boot, "revision": model.revision, "trial": model.trial, "refused": model.refused}
        return aiocoap.Message(code=aiocoap.CONTENT, payload=json.dumps(body).encode(), content_format=50)


DOCUMENT = json.dumps({"node": "press-7", "revision": OURS, "filler": "x" * 3000}).encode()


def order(
    name: str = "k-1", *, lives_s: float = 600, signature: str | None = None, told: bool = False
) -> dict[str, Any]:
    return {
        "id": name, "node": "press-7", "revision": OURS, "sha256": hashlib.sha256(DOCUMENT).hexdigest(),
        "size": len(DOCUMENT), "signature": signature, "told": told,
        "expires_ms": round((time.time() + lives_s) * 1000),
    }  # fmt: skip


@pytest.fixture
async def node(request: pytest.FixtureRequest, gateway: GatewayProcess, cloud: StandInCloud) -> AsyncIterator[Node]:
    """A node that has registered; it speaks openly unless the test gives it keys."""
    own: dict[str, str] | None = getattr(request, "param", None)
    cloud.documents["k-1"] = DOCUMENT
    cloud.mount("press-7")
    if own is not None:
        cloud.give_keys(press_7=own)
    gateway.start()
    served = Node()
    async with OscoreNode(own, gateway.coap_port, served.site()) as peer:
        wanted = 0 if own is None else 1
        await asyncio.to_thread(wait_until, lambda: gateway.metric("nodes_with_keys") == wanted, "the keys")
        answer = await peer.ask(aiocoap.POST, "rd?ep=press-7&lt=600&ver=1.0.0&cfg=4")
        assert answer.code == aiocoap.CREATED
        yield served


@pytest.mark.parametrize("node", [None, keys(1)], ids=["open", "oscore"], indirect=True)
async def test_from_the_order_to_the_confirmation_over_a_kill(
    gateway: GatewayProcess, cloud: StandInCloud, node: Node
) -> None:
    signature = "ab" * 64
    cloud.order_configurations(order(signature=signature))
    await until(lambda: "trial" in cloud.reported("k-1"), "the node to be told")
    assert node.taken == [(DOCUMENT, (f"sig={signature}",))]
    gateway.kill()
    node.model.act("start")
    node.model.act("reach")
    gateway.start()
    await until(lambda: cloud.reported("k-1")[-1] == "confirmed", "the end")
    assert list(dict.fromkeys(cloud.reported("k-1"))) == ["sent", "trial", "confirmed"]
    assert (len(node.taken), cloud.fetches) == (1, 1)


async def test_what_the_node_refuses_is_told_and_not_sent_again(
    gateway: GatewayProcess, cloud: StandInCloud, node: Node
) -> None:
    said = b"relays: a change needs the site's signature (PUT /config?sig=...)"
    node.refusal = aiocoap.Message(code=aiocoap.FORBIDDEN, payload=said)
    cloud.order_configurations(order())
    await until(lambda: "refused" in cloud.reported("k-1"), "the refusal")
    assert cloud.reports[-1][1]["detail"] == f"4.03 {said.decode()}"
    node.refusal = None
    gateway.kill()
    gateway.start()
    before = len(cloud.reports)
    await until(lambda: len(cloud.reports) > before, "the end to be told again, since the list still has the order")
    assert node.taken == []


async def test_an_answer_that_is_lost_is_no_reason_to_send_what_was_rolled_back(
    cloud: StandInCloud, node: Node
) -> None:
    node.silent = True
    cloud.order_configurations(order())
    await until(lambda: node.taken, "the node to be told")
    taken = len(node.taken)
    node.model.act("start")
    node.model.act("give up")
    await until(lambda: "rolled-back" in cloud.reported("k-1"), "the end")
    assert cloud.reports[-1][1]["detail"] == SILENT
    assert len(node.taken) == taken


async def test_a_document_that_is_another_never_leaves(cloud: StandInCloud, node: Node) -> None:
    cloud.documents["k-1"] = DOCUMENT + b" "
    cloud.order_configurations(order())
    await until(lambda: "failed" in cloud.reported("k-1"), "the end")
    cloud.order_configurations(order("k-2"))
    await until(lambda: "failed" in cloud.reported("k-2"), "the end of one that the cloud does not have")
    assert node.taken == []


async def test_one_that_expires_at_a_silent_node_fails(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    cloud.documents["k-1"] = DOCUMENT
    gateway.start()
    cloud.order_configurations(order(lives_s=1.5))
    await until(lambda: cloud.reported("k-1") == ["sent", "failed"], "the end")
    assert "has not registered" in cloud.reports[-1][1]["detail"]
