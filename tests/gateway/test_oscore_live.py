"""The running gateway and a node of aiocoap's OSCORE, both ways, through replays, kills and the wrong keys."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from aiocoap import resource
from gateway.gateway_process import GatewayProcess
from gateway.oscore_peer import OscoreNode, PeerContext, Wire, keys
from gateway.packs import pack, temperature
from gateway.stand_in_cloud import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.stand_in_cloud import StandInCloud

PRESS, OVEN = keys(1), keys(2, "ff" * 16)


@pytest.fixture
def strict(tmp_path: Path, cloud: StandInCloud) -> Iterator[GatewayProcess]:
    """A gateway as it comes: nobody is allowed to be unprotected, two nodes have keys."""
    cloud.give_keys(press_7=PRESS, oven_1=OVEN)
    process = GatewayProcess(tmp_path, cloud.url, unprotected=None).start()
    wait_until(lambda: process.metric("nodes_with_keys") == 2, "the keys at the gateway")
    yield process
    process.kill()


def a_pack(seq: int = 0, node: str = "press-7") -> bytes:
    return pack(node, 1, seq, temperature(20.5))


async def refusals(gateway: GatewayProcess, name: str, label: str) -> float:
    lines = (await asyncio.to_thread(gateway.get, "/metrics")).splitlines()
    wanted = f'andon_gateway_{name}_total{{reason="{label}"}} '
    return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)


async def test_telemetry_registration_and_time(strict: GatewayProcess) -> None:
    async with OscoreNode(PRESS, strict.coap_port) as node:
        for _ in range(2):
            answer = await node.ask(aiocoap.POST, "t", a_pack(), content_format=112)
            assert answer.code == aiocoap.CHANGED
        answer = await node.ask(aiocoap.POST, "rd?ep=press-7&lt=60", b"</relay/0>")
        assert (answer.code, answer.opt.location_path) == (aiocoap.CREATED, ("rd", "press-7"))
        assert (await node.ask(aiocoap.POST, "rd/press-7")).code == aiocoap.CHANGED
        assert (await node.ask(aiocoap.POST, "rd/oven-1")).code == aiocoap.NOT_FOUND
        assert (await node.ask(aiocoap.GET, "time")).payload.isdigit()
    assert strict.metric("packs_total") == 1
    assert strict.metric("duplicate_packs_total") == 1
    assert strict.metric("oscore_challenges_total") == 1, "one proof of freshness per start of the gateway"


async def test_the_keys_decide_whose_pack_it_is(strict: GatewayProcess) -> None:
    async with OscoreNode(OVEN, strict.coap_port) as oven:
        answer = await oven.ask(aiocoap.POST, "t", a_pack(), content_format=112)
        assert (answer.code, b"oven-1" in answer.payload) == (aiocoap.FORBIDDEN, True)
        assert (await oven.ask(aiocoap.POST, "rd?ep=press-7", b"")).code == aiocoap.FORBIDDEN
        assert (await oven.ask(aiocoap.GET, "config?ep=press-7")).code == aiocoap.FORBIDDEN
        assert (await oven.ask(aiocoap.GET, "config?ep=oven-1")).code == aiocoap.NOT_FOUND
    assert await refusals(strict, "refused_packs", "identity") == 1
    assert strict.metric("packs_total") == 0


async def test_unprotected_is_refused_where_nobody_allowed_it(strict: GatewayProcess) -> None:
    async with OscoreNode(None, strict.coap_port) as stranger:
        answer = await stranger.ask(aiocoap.POST, "t", a_pack(), content_format=112)
        assert (answer.code, b"OSCORE" in answer.payload) == (aiocoap.UNAUTHORIZED, True)
        assert (await stranger.ask(aiocoap.POST, "rd?ep=press-7", b"")).code == aiocoap.UNAUTHORIZED
        assert (await stranger.ask(aiocoap.GET, "config?ep=press-7")).code == aiocoap.UNAUTHORIZED
        assert (await stranger.ask(aiocoap.GET, "time")).code == aiocoap.CONTENT
        assert (await stranger.ask(aiocoap.GET, ".well-known/core")).code == aiocoap.CONTENT
    assert await refusals(strict, "refused_packs", "unprotected") == 1
    assert strict.metric("packs_total") == 0


@pytest.mark.parametrize(("allowed", "press_may"), [("*", False), ('["old-1"]', False), ('["old-1", "press-7"]', True)])
async def test_exceptions_by_name(tmp_path: Path, cloud: StandInCloud, allowed: str, *, press_may: bool) -> None:
    """A star covers nodes without keys only: having keys is no reason to be believed without them."""
    cloud.give_keys(press_7=PRESS)
    process = GatewayProcess(tmp_path, cloud.url, unprotected=allowed).start()
    try:
        await asyncio.to_thread(wait_until, lambda: process.metric("nodes_with_keys") == 1, "the keys")
        async with OscoreNode(None, process.coap_port) as node:
            answer = await node.ask(aiocoap.POST, "t", a_pack(0, "old-1"), content_format=112)
            assert answer.code == aiocoap.CHANGED
            answer = await node.ask(aiocoap.POST, "t", a_pack(), content_format=112)
            assert (answer.code == aiocoap.CHANGED) == press_may
    finally:
        process.kill()


async def test_replays_are_refused_before_and_after_a_kill(strict: GatewayProcess) -> None:
    wire = Wire(strict.coap_port)
    async with OscoreNode(PRESS, strict.coap_port) as node:
        await node.ask(aiocoap.POST, "t", a_pack(0), content_format=112)
        recorded = node.protected(aiocoap.POST, "t", a_pack(1), 0x1000, content_format=112)
        assert wire.exchange(recorded).code == aiocoap.CHANGED
        packs = strict.metric("packs_total")
        replayed = bytearray(recorded)
        replayed[2:4] = b"\x20\x00"  # another message id: not the duplicate that CoAP itself drops
        answer = wire.exchange(bytes(replayed))
        assert (answer.code, answer.payload, answer.opt.max_age) == (aiocoap.UNAUTHORIZED, b"Replay detected", 0)
        assert answer.opt.oscore is None
        assert (strict.metric("packs_total"), strict.metric("duplicate_packs_total")) == (packs, 0)
        strict.kill()
        strict.start()
        await asyncio.to_thread(wait_until, lambda: strict.metric("nodes_with_keys") == 2, "the keys from the disk")
        answer = wire.exchange(bytes(replayed))
        assert answer.opt.oscore, "an authentic replay after a restart gets a challenge, not an acceptance"
        assert (strict.metric("packs_total"), strict.metric("duplicate_packs_total")) == (0, 0)
        assert (await node.ask(aiocoap.POST, "t", a_pack(2), content_format=112)).code == aiocoap.CHANGED
        assert wire.exchange(bytes(replayed)[:2] + b"\x20\x01" + bytes(replayed)[4:]).payload == b"Replay detected"
    wire.close()
    assert await refusals(strict, "oscore_refused", "ReplayError") >= 1


async def test_strangers_and_damaged_messages(strict: GatewayProcess) -> None:
    wire = Wire(strict.coap_port)
    async with OscoreNode(keys(9), strict.coap_port) as stranger, OscoreNode(keys(1, "ab" * 16), 1) as forger:
        answer = wire.exchange(stranger.protected(aiocoap.GET, "time", b"", 1))
        assert (answer.code, answer.payload) == (aiocoap.UNAUTHORIZED, b"Security context not found")
        answer = wire.exchange(forger.protected(aiocoap.GET, "time", b"", 2))
        assert (answer.code, answer.payload) == (aiocoap.BAD_REQUEST, b"Decryption failed")
    wire.close()


async def test_challenges_are_rationed(strict: GatewayProcess) -> None:
    wire = Wire(strict.coap_port)
    async with OscoreNode(PRESS, strict.coap_port) as node:
        began = time.monotonic()
        answers = [wire.exchange(node.protected(aiocoap.GET, "time", b"", mid)) for mid in range(1, 40)]
        earned = time.monotonic() - began
        challenged = sum(answer.opt.oscore is not None for answer in answers)
        # Ten at once, and one for every second that a busy machine took.
        assert 10 <= challenged <= 10 + earned + 1
        assert challenged == len(answers) or {answer.code for answer in answers if answer.opt.oscore is None} == {
            aiocoap.SERVICE_UNAVAILABLE
        }
    wire.close()


async def test_firmware_comes_in_protected_blocks_from_any_block(strict: GatewayProcess) -> None:
    image = bytes(range(256)) * 50
    (strict.state_dir / "fw" / "node.bin").write_bytes(image)
    async with OscoreNode(PRESS, strict.coap_port) as node:
        answer = await node.ask(aiocoap.GET, "fw/node.bin")
        assert answer.payload == image
        block = await node.ask(aiocoap.GET, "fw/node.bin", assemble=False, block2=(7, False, 4))
        assert block.payload[:256] == image[7 * 256 : 8 * 256]
        assert block.opt.etag == answer.opt.etag


class Relay(resource.Resource):  # type: ignore[misc]  # untyped base
    """PUT /relay/0 of a node: remembers whether it came protected."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.protected: set[bool] = set()

    async def render_put(self, request: Any) -> aiocoap.Message:
        body = json.loads(request.payload)
        self.bodies.append(body)
        self.protected.add(isinstance(getattr(request.remote, "security_context", None), PeerContext))
        state = {"state": body["state"], "contact": body["state"], "lease_s": body["lease_s"]}
        return aiocoap.Message(code=aiocoap.CHANGED, payload=json.dumps(state).encode(), content_format=50)


def order(name: str, node: str = "press-7") -> dict[str, Any]:
    expires_ms = round((time.time() + 30) * 1000)
    return {"id": name, "node": node, "relay": 0, "state": True, "lease_s": 30, "expires_ms": expires_ms}


async def until_reported(cloud: StandInCloud, name: str, state: str) -> None:
    await asyncio.to_thread(wait_until, lambda: state in cloud.reported(name), f"{name} {state}")


async def test_commands_are_protected_and_prove_their_freshness(strict: GatewayProcess, cloud: StandInCloud) -> None:
    relay, site = Relay(), resource.Site()
    site.add_resource(["relay", "0"], relay)
    async with OscoreNode(PRESS, strict.coap_port, site) as node:
        await node.ask(aiocoap.POST, "rd?ep=press-7&lt=60", b"")
        # The node has just started: its window is lost, so it asks the gateway for an Echo first.
        cloud.command(**order("c-1"))
        await until_reported(cloud, "c-1", "acknowledged")
        strict.kill()
        strict.start()
        await node.ask(aiocoap.POST, "rd?ep=press-7&lt=60", b"")
        cloud.command(**order("c-2"))
        await until_reported(cloud, "c-2", "acknowledged")
    assert [body["id"] for body in relay.bodies] == ["c-1", "c-2"]
    assert relay.protected == {True}


async def test_a_rotation_revokes_the_old_keys_and_survives_a_restart(
    strict: GatewayProcess, cloud: StandInCloud
) -> None:
    fresh = keys(3, "77" * 16)
    async with OscoreNode(PRESS, strict.coap_port) as old:
        assert (await old.ask(aiocoap.GET, "time")).code == aiocoap.CONTENT
        cloud.give_keys(press_7=fresh)
        await asyncio.to_thread(wait_until, lambda: strict.metric("nodes_with_keys") == 1, "the new table")
        wire = Wire(strict.coap_port)
        assert wire.exchange(old.protected(aiocoap.GET, "time", b"", 5)).payload == b"Security context not found"
        wire.close()
    cloud.stop()
    strict.kill()
    strict.start()
    async with OscoreNode(fresh, strict.coap_port) as node:
        assert (await node.ask(aiocoap.POST, "t", a_pack(), content_format=112)).code == aiocoap.CHANGED
    for path in strict.state_dir.glob("gateway.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert fresh["secret"] not in strict.log.read_text()
