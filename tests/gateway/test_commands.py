"""Relay commands: from a stand-in cloud's stream through the real gateway to an aiocoap node, and the reports back."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest_asyncio
from aiocoap import error, resource
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.commands.queue import Execution
from andon_gateway.commands.relay import judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.gateway_process import GatewayProcess
    from gateway.stand_in_cloud import StandInCloud
from gateway.packs import pack, temperature
from gateway.udp_node import UdpNode


async def until(condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
    """Wait for a condition without stopping the node, which lives in this loop."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s} s for: {what}"
        await asyncio.sleep(0.005)


class Relay(resource.Resource):  # type: ignore[misc]  # untyped base
    """PUT /relay/0 of a node, in this process: records what arrives and answers as told."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[dict[str, Any]] = []
        self.sources: set[int] = set()
        self.answer: Callable[[dict[str, Any]], aiocoap.Message] = self.switched
        self.silent = asyncio.Event()
        self.silent.set()
        self.active = 0
        self.most_active = 0

    @staticmethod
    def switched(body: dict[str, Any]) -> aiocoap.Message:
        state = {"state": body["state"], "contact": body["state"], "lease_s": body["lease_s"]}
        return aiocoap.Message(code=aiocoap.CHANGED, payload=json.dumps(state).encode(), content_format=50)

    async def render_put(self, request: Any) -> aiocoap.Message:
        body = json.loads(request.payload)
        self.commands.append(body)
        self.sources.add(request.remote.sockaddr[1])
        self.active += 1
        self.most_active = max(self.active, self.most_active)
        await self.silent.wait()
        self.active -= 1
        return self.answer(body)

    @property
    def executed(self) -> list[str]:
        """Ids in order, repetitions left out, as a node would treat them."""
        return list(dict.fromkeys(body["id"] for body in self.commands))


class AiocoapNode:
    """A node with one UDP socket: it registers and posts from the port on which it serves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.relay = Relay()
        self._context: aiocoap.Context | None = None

    async def start(self) -> AiocoapNode:
        site = resource.Site()
        site.add_resource(["relay", "0"], self.relay)
        self._context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", 0), transports=["udp6"])
        return self

    async def register(self, gateway: GatewayProcess) -> None:
        assert self._context is not None
        uri = f"coap://127.0.0.1:{gateway.coap_port}/rd?ep={self.name}&lt=60"
        answer = await self._context.request(aiocoap.Message(code=aiocoap.POST, uri=uri)).response
        assert answer.code == aiocoap.CREATED

    async def stop(self) -> None:
        if self._context is not None:
            await self._context.shutdown()
            self._context = None


@pytest_asyncio.fixture(loop_scope="function")
async def node() -> AsyncIterator[AiocoapNode]:
    started = await AiocoapNode("press-7").start()
    yield started
    await started.stop()


def order(
    name: str, *, state: bool = True, lives_s: float = 60, node: str = "press-7", relay: int = 0
) -> dict[str, Any]:
    expires_ms = round((time.time() + lives_s) * 1000)
    return {"id": name, "node": node, "relay": relay, "state": state, "lease_s": 30, "expires_ms": expires_ms}


async def test_a_command_reaches_the_node_from_the_known_port(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    command = order("c-1")
    cloud.command(**command)
    await until(lambda: cloud.reported("c-1") == ["sent", "acknowledged"], "both reports")
    (arrived,) = node.relay.commands
    assert arrived == {key: command[key] for key in ("id", "state", "lease_s", "expires_ms")}
    assert node.relay.sources == {gateway.coap_port}
    final = cloud.reports[-1][1]
    assert (final["contact"], final["detail"]) == (True, "")
    assert abs(final["at_ms"] - time.time() * 1000) < 10_000


async def test_commands_of_a_node_run_in_order_one_at_a_time(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    other = await AiocoapNode("oven-1").start()
    await node.register(gateway)
    await other.register(gateway)
    node.relay.silent.clear()
    names = [f"c-{number}" for number in range(5)]
    for name in names:
        cloud.command(**order(name))
    await until(lambda: node.relay.commands, "the first command at the node")
    cloud.command(**order("other", node="oven-1"))
    await until(lambda: cloud.reported("other") == ["sent", "acknowledged"], "another node not to be blocked")
    node.relay.silent.set()
    await until(lambda: all("acknowledged" in cloud.reported(name) for name in names), "all acknowledged")
    assert node.relay.executed == names
    assert node.relay.most_active == 1
    await other.stop()


async def test_a_known_id_is_not_executed_again_and_its_result_reported_again(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    command = order("c-1")
    cloud.command(**command)
    await until(lambda: "acknowledged" in cloud.reported("c-1"), "the acknowledgement")
    cloud.resend(**command)
    await until(lambda: cloud.reported("c-1").count("acknowledged") == 2, "the result again")
    cloud.command(**order("c-2"))
    await until(lambda: "acknowledged" in cloud.reported("c-2"), "the next command")
    assert node.relay.executed == ["c-1", "c-2"]
    assert len(node.relay.commands) == 2


async def test_an_expired_command_is_never_sent(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    cloud.command(**order("late", lives_s=-1))
    cloud.command(**order("next"))
    await until(lambda: "acknowledged" in cloud.reported("next"), "the next command")
    assert cloud.reported("late") == ["sent", "expired"]
    assert node.relay.executed == ["next"]


async def test_a_command_waits_for_its_node(gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode) -> None:
    gateway.start()
    cloud.command(**order("waits"))
    cloud.command(**order("stranger", node="nobody", lives_s=2))
    await until(lambda: cloud.reported("stranger") == ["sent", "expired"], "the stranger's command to expire")
    assert "not registered" in next(
        body["detail"] for name, body in cloud.reports if name == "stranger" and body["detail"][0] == "e"
    )
    assert cloud.reported("waits") == ["sent"]
    await node.register(gateway)
    await until(lambda: cloud.reported("waits") == ["sent", "acknowledged"], "the waiting command")


async def test_a_silent_node_lets_the_command_expire_and_a_moved_one_gets_it(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    node.relay.silent.clear()
    cloud.command(**order("silent", lives_s=4))
    cloud.command(**order("moved"))
    await until(lambda: cloud.reported("silent") == ["sent", "expired"], "the expiry")
    assert "unknown" in [body["detail"] for name, body in cloud.reports if name == "silent"][-1]
    await node.stop()
    moved = await AiocoapNode("press-7").start()
    await moved.register(gateway)
    await until(lambda: cloud.reported("moved") == ["sent", "acknowledged"], "the command at the new address")
    await moved.stop()


async def test_a_lost_command_is_repeated_until_its_expiry_and_never_after(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    gateway.start()
    with UdpNode(gateway.coap_port) as deaf:
        assert await asyncio.to_thread(deaf.register, "deaf", 60) == (2, 1)
        command = order("lost", node="deaf", lives_s=4.5)
        cloud.command(**command)
        arrivals: list[tuple[float, bytes]] = []
        while (datagram := await asyncio.to_thread(deaf.receive, 5)) is not None:
            arrivals.append((time.time() * 1000, datagram))
    assert len(arrivals) >= 2
    assert all(b'"id":"lost"' in datagram for _, datagram in arrivals)
    assert len({datagram[2:4] for _, datagram in arrivals}) == len(arrivals), "message ids differ"
    assert arrivals[-1][0] < command["expires_ms"]
    await until(lambda: cloud.reported("lost") == ["sent", "expired"], "the expiry")


async def test_a_switched_off_node_does_not_make_the_gateway_deaf(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    """Its port answers with ICMP errors (port unreachable), which reach the gateway's one socket."""
    gateway.start()
    with UdpNode(gateway.coap_port) as gone:
        assert await asyncio.to_thread(gone.register, "gone", 60) == (2, 1)
    cloud.command(**order("to-nobody", node="gone", lives_s=3))
    await until(lambda: cloud.reported("to-nobody") == ["sent", "expired"], "the expiry")
    assert "no answer" in [body["detail"] for name, body in cloud.reports if name == "to-nobody"][-1]
    with UdpNode(gateway.coap_port) as other:
        assert await asyncio.to_thread(other.post, pack("oven-1", 1, 0, temperature(20.0)), 10) == (2, 4)
    await node.register(gateway)
    cloud.command(**order("to-press"))
    await until(lambda: cloud.reported("to-press") == ["sent", "acknowledged"], "the command to a living node")


async def test_kill_and_restart_repeat_nothing_finished_and_continue_the_rest(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    cloud.command(**order("done"))
    await until(lambda: "acknowledged" in cloud.reported("done"), "the first command")
    node.relay.silent.clear()
    cloud.command(**order("open-1"))
    cloud.command(**order("open-2", state=False))
    await until(lambda: len(node.relay.commands) == 2, "the second command at the node")
    await until(lambda: "sent" in cloud.reported("open-2"), "the third to be kept")
    await asyncio.to_thread(gateway.kill)
    cloud.stream_status = [503] * 3
    node.relay.silent.set()
    await asyncio.to_thread(gateway.start)
    await until(lambda: "acknowledged" in cloud.reported("open-2"), "the rest, from the gateway's own disk")
    assert node.relay.executed == ["done", "open-1", "open-2"]
    assert [body["id"] for body in node.relay.commands].count("done") == 1


async def test_streams_that_end_or_refuse_are_opened_again(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    cloud.stream_status = [503, 401, 500]
    gateway.start()
    await node.register(gateway)
    for number in range(3):
        await until(lambda number=number: cloud.streams > number, "a stream")  # type: ignore[misc]  # default binds
        cloud.drop_streams()
        cloud.command(**order(f"c-{number}"))
        await until(lambda number=number: "acknowledged" in cloud.reported(f"c-{number}"), "the command")  # type: ignore[misc]  # same
    assert len(node.relay.commands) == 3


async def test_reports_are_repeated_until_taken(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    cloud.report_status = [503, 500, 429]
    gateway.start()
    await node.register(gateway)
    cloud.command(**order("c-1"))
    await until(lambda: cloud.reported("c-1") == ["sent", "acknowledged"], "both reports in order")
    cloud.report_status = [404]
    cloud.command(**order("c-2"))
    await until(lambda: "acknowledged" in cloud.reported("c-2"), "the second after a refused one")


async def test_unreadable_events_change_nothing(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    await until(lambda: cloud.streams, "the stream")
    good = order("good")
    for bad in (
        "not json",
        "[]",
        json.dumps({**good, "id": "../../x"}),
        json.dumps({**good, "id": "a", "lease_s": 0}),
        json.dumps({**good, "id": "b", "state": "on"}),
        json.dumps({**good, "id": "c", "node": "Press 7"}),
    ):
        cloud.raw_event(f"event: command\ndata: {bad}\n\n")
    cloud.raw_event('event: assets\ndata: {"version": 1, "nodes": {"a": {"site": "x y"}}}\n\n')
    cloud.raw_event("event: news\ndata: {}\n\n: a comment\n\n")
    cloud.command(**good)
    await until(lambda: "acknowledged" in cloud.reported("good"), "the good command")
    assert node.relay.executed == ["good"]
    assert {name for name, _ in cloud.reports} == {"good"}


ANSWERS = {
    "4-04": (error.NotFound("no such relay").to_message, ("failed", None, "4.04 no such relay")),
    "4-00": (error.BadRequest("bad").to_message, ("failed", None, "4.00 bad")),
    "4-12": (error.PreconditionFailed("too late").to_message, ("expired", None, "4.12 too late")),
    "5-00": (error.InternalServerError("stuck").to_message, ("failed", None, "5.00 stuck")),
    "unreadable": (lambda: aiocoap.Message(code=aiocoap.CHANGED, payload=b"?"), ("failed", None, "no contact state")),
    "contact": (
        lambda: aiocoap.Message(code=aiocoap.CHANGED, payload=b'{"contact": false}'),
        ("failed", False, "not in the commanded state"),
    ),
}


async def test_what_the_node_answers_is_reported(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    gateway.start()
    await node.register(gateway)
    node.relay.answer = lambda body: ANSWERS[body["id"]][0]()
    for name, (_, (state, contact, detail)) in ANSWERS.items():
        cloud.command(**order(name))
        await until(lambda name=name: len(cloud.reported(name)) == 2, "the result")  # type: ignore[misc]  # default binds
        final = cloud.reports[-1][1]
        assert (final["state"], final["contact"]) == (state, contact), name
        assert detail in final["detail"]


class _Answer:
    def __init__(self, code: tuple[int, int], payload: bytes) -> None:
        self.code = code
        self.payload = payload


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(2, 5), st.integers(0, 31), st.binary(max_size=40), st.booleans())
def test_any_answer_is_judged_and_only_the_right_contact_acknowledges(
    kind: int,
    detail: int,
    payload: bytes,
    expected: bool,  # noqa: FBT001 -- drawn by hypothesis
) -> None:
    verdict = judge(_Answer((kind, detail), payload), expected=expected)
    if isinstance(verdict, Execution) and verdict.result == "acknowledged":
        assert kind == 2
        assert json.loads(payload)["contact"] is expected
    if (kind, detail) == (5, 3):
        assert isinstance(verdict, str)


async def test_the_command_path_is_quick(gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode) -> None:
    gateway.start()
    await node.register(gateway)
    cloud.command(**order("warm-up"))
    await until(lambda: "acknowledged" in cloud.reported("warm-up"), "the warm-up")
    delays = []
    for number in range(11):
        before = time.monotonic()
        cloud.command(**order(f"q-{number}"))
        await until(lambda number=number: len(node.relay.commands) == number + 2, "the command")  # type: ignore[misc]  # default binds
        delays.append(time.monotonic() - before)
        await until(lambda number=number: "acknowledged" in cloud.reported(f"q-{number}"), "the report")  # type: ignore[misc]  # same
    # Speed is measured in bench/; here nobody polls, which would cost half of a period of seconds.
    assert sorted(delays)[5] < 0.5, "somebody polls on the way from cloud to node"
