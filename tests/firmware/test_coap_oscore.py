"""The node's endpoint with keys and aiocoap's OSCORE on real sockets, in both directions, through restarts and replays."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
import pytest_asyncio
from aiocoap import resource
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper  # type: ignore[import-untyped]  # same
from firmware.coap_vm import GATEWAY_KEYS, NODE_KEYS, CoapVm
from firmware.endpoint_vm import Peer
from firmware.test_coap_transfers import LARGE, ask, until
from gateway.oscore_peer import PeerContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[CoapVm]:
    with CoapVm(tmp_path, keys=NODE_KEYS) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="function")
async def client(vm: CoapVm) -> AsyncIterator[aiocoap.Context]:
    context = await aiocoap.Context.create_client_context(transports=["oscore", "udp6"])
    context.client_credentials[vm.uri("*")] = PeerContext(GATEWAY_KEYS)
    yield context
    await context.shutdown()


class Recorder:
    """Protected requests as bytes, to be sent when and as often as the test wants."""

    def __init__(self, vm: CoapVm, first: int = 0, keys: dict[str, str] = GATEWAY_KEYS) -> None:
        self.peer = Peer()
        self.mids = itertools.count(100)
        self.context = PeerContext(keys, first=first)
        self._vm = vm

    def protected(self, code: Any, path: str, mid: int, **options: Any) -> tuple[bytes, Any]:
        outer, request_id = self.context.protect(aiocoap.Message(code=code, uri_path=(path,), **options))
        outer.mtype, outer.mid, outer.token = aiocoap.CON, mid, b"tk"
        return outer.encode(), request_id

    def exchange(self, datagram: bytes) -> aiocoap.Message:
        self.peer.socket.sendto(datagram, ("127.0.0.1", self._vm.port))
        return self.peer.receive()

    def prove_fresh(self) -> None:
        """Answer the challenge that a start of the node asks for."""
        datagram, request_id = self.protected(aiocoap.GET, "count", 1)
        challenge, _ = self.context.unprotect(self.exchange(datagram), request_id)
        assert (challenge.code, len(challenge.opt.echo)) == (aiocoap.UNAUTHORIZED, 8)
        datagram, request_id = self.protected(aiocoap.GET, "count", 2, echo=challenge.opt.echo)
        answer, _ = self.context.unprotect(self.exchange(datagram), request_id)
        assert answer.code == aiocoap.CONTENT


async def test_aiocoap_asks_observes_and_transfers_blocks(vm: CoapVm, client: aiocoap.Context) -> None:
    assert (await ask(client, vm, aiocoap.GET, "count")).payload == b"0"
    assert (await ask(client, vm, aiocoap.GET, "large")).payload == LARGE
    assert (await ask(client, vm, aiocoap.PUT, "body", b"z" * 5000)).payload.startswith(b"5000 ")
    assert (await ask(client, vm, aiocoap.GET, "slow")).payload == b"slow 1"
    request = client.request(aiocoap.Message(code=aiocoap.GET, uri=vm.uri("count"), observe=0))
    assert (await asyncio.wait_for(request.response, 10)).payload == b"1"
    seen: list[bytes] = []

    async def follow() -> None:
        async for response in request.observation:
            seen.append(response.payload)  # noqa: PERF401 - read while it grows

    following = asyncio.create_task(follow())
    for number in range(2, 22):
        await ask(client, vm, aiocoap.PUT, "count")

        async def reached(wanted: bytes = b"%d" % number) -> bool:
            return bool(seen) and seen[-1] == wanted

        await until(reached)
    following.cancel()


async def test_unprotected_requests_are_refused_except_discovery(vm: CoapVm) -> None:
    open_client = await aiocoap.Context.create_client_context(transports=["udp6"])
    for code, path in ((aiocoap.GET, "count"), (aiocoap.PUT, "count"), (aiocoap.PUT, "body"), (aiocoap.GET, "nothing")):
        answer = await ask(open_client, vm, code, path)
        assert (answer.code, answer.payload) == (aiocoap.UNAUTHORIZED, b"protected requests only (OSCORE)")
    assert (await ask(open_client, vm, aiocoap.PUT, "body", bytes(3000))).code == aiocoap.UNAUTHORIZED
    assert (await ask(open_client, vm, aiocoap.GET, ".well-known/core")).payload == LARGE
    await open_client.shutdown()


def test_replays_are_refused_also_after_a_power_cut(vm: CoapVm) -> None:
    gateway = Recorder(vm)
    gateway.prove_fresh()
    command, request_id = gateway.protected(aiocoap.PUT, "count", 50)
    answer, _ = gateway.context.unprotect(gateway.exchange(command), request_id)
    assert answer.code == aiocoap.CHANGED
    same = gateway.exchange(command)
    assert same.opt.oscore is not None, "the same message again: answered again, not done again"
    replayed = command[:2] + b"\x77\x01" + command[4:]
    refused = gateway.exchange(replayed)
    assert (refused.code, refused.payload, refused.opt.max_age) == (aiocoap.UNAUTHORIZED, b"Replay detected", 0)
    vm.__exit__()
    with vm:
        challenged = gateway.exchange(command[:2] + b"\x77\x02" + command[4:])
        answer, _ = gateway.context.unprotect(challenged, request_id)
        assert answer.code == aiocoap.UNAUTHORIZED
        gateway.prove_fresh()
        refused = gateway.exchange(command[:2] + b"\x77\x03" + command[4:])
        assert refused.payload == b"Replay detected"
        datagram, request_id = gateway.protected(aiocoap.GET, "count", 60)
        answer, _ = gateway.context.unprotect(gateway.exchange(datagram), request_id)
        assert answer.payload == b"0", "the command was executed before the cut only"


def test_challenges_are_rationed_and_forgeries_named(vm: CoapVm) -> None:
    gateway, stranger = Recorder(vm), Recorder(vm, keys=GATEWAY_KEYS | {"sender_id": "44"})
    forger = Recorder(vm, keys=GATEWAY_KEYS | {"secret": "ff" * 16})
    assert stranger.exchange(stranger.protected(aiocoap.GET, "count", 1)[0]).payload == b"Security context not found"
    assert forger.exchange(forger.protected(aiocoap.GET, "count", 1)[0]).payload == b"Decryption failed"
    answered = 0
    for mid in range(30):
        gateway.peer.socket.sendto(gateway.protected(aiocoap.GET, "count", mid)[0], ("127.0.0.1", vm.port))
        answered += not gateway.peer.is_silent(0.02)
        while not gateway.peer.is_silent(0):
            gateway.peer.receive()
    assert 1 <= answered <= 7


def test_a_node_with_broken_keys_stays_silent_and_believes_nobody(tmp_path: Path) -> None:
    for broken in ("", "{", '{"secret": "12"}', '{"secret": "xx", "sender_id": "01", "recipient_id": "00"}'):
        (tmp_path / "keys.json").write_text(broken)
        with CoapVm(tmp_path) as vm:
            peer = Peer()
            for path in ("count", ".well-known"):
                request = aiocoap.Message(code=aiocoap.GET, uri_path=(path,))
                request.mtype, request.mid, request.token = aiocoap.CON, len(path), b"t"
                peer.socket.sendto(request.encode(), ("127.0.0.1", vm.port))
                assert peer.receive().code == aiocoap.SERVICE_UNAVAILABLE
            peer.close()
        assert "keys:" in vm.log.read_text()
        assert "12" not in vm.log.read_text()


def test_a_node_whose_sequence_numbers_are_lost_asks_for_new_keys(tmp_path: Path) -> None:
    with CoapVm(tmp_path, keys=NODE_KEYS) as vm:
        del vm
    for suffix in (".0", ".1"):
        (tmp_path / f"oscore{suffix}").write_bytes(b"torn")
    with CoapVm(tmp_path) as vm:
        pass
    assert "provision new keys" in vm.log.read_text()
    fresh = NODE_KEYS | {"secret": "aa" * 16}
    with CoapVm(tmp_path, keys=fresh) as vm:
        recorder = Recorder(vm, keys=GATEWAY_KEYS | {"secret": "aa" * 16})
        recorder.prove_fresh()


# --- the node as the client -------------------------------------------------------------------------------------------------


class Thing(resource.Resource):  # type: ignore[misc]  # untyped base
    """POST /thing: counts what arrives, and which contexts it came with."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: list[bytes] = []
        self.delay_s = 0.0

    async def render_post(self, request: Any) -> aiocoap.Message:
        assert isinstance(request.remote.security_context, PeerContext)
        self.payloads.append(request.payload)
        await asyncio.sleep(self.delay_s)
        return aiocoap.Message(code=aiocoap.CHANGED, payload=b"done")


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def asked(gateway: Recorder, limit_s: float = 15.0) -> bytes:
    """Let the node ask, and read what came of it."""
    datagram, request_id = gateway.protected(aiocoap.GET, "ask", next(gateway.mids))
    await asyncio.to_thread(gateway.exchange, datagram)
    end = time.monotonic() + limit_s
    while True:
        datagram, request_id = gateway.protected(aiocoap.GET, "result", next(gateway.mids))
        answer, _ = gateway.context.unprotect(await asyncio.to_thread(gateway.exchange, datagram), request_id)
        if answer.payload not in (b"waiting", b"none"):
            return bytes(answer.payload)
        assert time.monotonic() < end, "no result in time"
        await asyncio.sleep(0.02)


async def test_the_node_asks_a_server_that_has_restarted(tmp_path: Path) -> None:
    port, thing, site = free_udp_port(), Thing(), resource.Site()
    site.add_resource(["thing"], thing)
    with CoapVm(tmp_path, peer_port=port, keys=NODE_KEYS) as vm:
        gateway = Recorder(vm)
        gateway.prove_fresh()
        wrapper = OscoreSiteWrapper(site, aiocoap.credentials.CredentialsMap())
        wrapper.server_credentials[":node"] = PeerContext(GATEWAY_KEYS, first=5000, echo=b"provemee")
        server = await aiocoap.Context.create_server_context(wrapper, bind=("127.0.0.1", port), transports=["udp6"])
        assert await asked(gateway) == b"2.04 done"
        assert thing.payloads == [b"text"], "asked for an Echo first, then executed once"
        thing.delay_s = 1.0
        assert await asked(gateway) == b"2.04 done"
        assert thing.payloads == [b"text"] * 2, "a separate response, protected too"
        await server.shutdown()


async def test_unprotected_and_forged_answers_are_not_believed(tmp_path: Path) -> None:
    port = free_udp_port()
    with CoapVm(tmp_path, peer_port=port, keys=NODE_KEYS) as vm:
        gateway = Recorder(vm)
        gateway.prove_fresh()
        liar = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        liar.bind(("127.0.0.1", port))

        def lie() -> int:
            liar.settimeout(1.5)
            lies = 0
            while True:
                try:
                    data, node = liar.recvfrom(2048)
                except TimeoutError:
                    return lies
                request = aiocoap.Message.decode(data)
                for oscore in (None, b"", b"\x01\x05"):
                    answer = aiocoap.Message(code=aiocoap.CHANGED, payload=b"believe me, please", oscore=oscore)
                    answer.mtype, answer.mid, answer.token = aiocoap.ACK, request.mid, request.token
                    liar.sendto(answer.encode(), node)
                lies += 1

        lying = asyncio.create_task(asyncio.to_thread(lie))
        result = await asked(gateway)
        assert b"RequestTimeoutError" in result
        assert b"unprotected or forged" in result
        assert await lying == 4, "repeated as if nothing had come"
        liar.close()
