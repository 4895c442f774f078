"""The node's endpoint with aiocoap and libcoap: observation, blocks both ways, separate responses."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
import zlib
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
import pytest_asyncio
from firmware.coap_vm import CoapVm
from firmware.endpoint_vm import Peer, message
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

LARGE = "".join(f"{number:06}" for number in range(500)).encode()
CON, NON, ACK, RST = aiocoap.CON, aiocoap.NON, aiocoap.ACK, aiocoap.RST


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[CoapVm]:
    with CoapVm(tmp_path) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="function")
async def client() -> AsyncIterator[aiocoap.Context]:
    context = await aiocoap.Context.create_client_context(transports=["udp6"])
    yield context
    await context.shutdown()


async def ask(client: aiocoap.Context, vm: CoapVm, code: Any, path: str, payload: bytes = b"", **options: Any) -> Any:
    request = aiocoap.Message(code=code, uri=vm.uri(path), payload=payload, **options)
    return await asyncio.wait_for(client.request(request).response, 20)


async def until(condition: Any, limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


# --- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0, 2, 4, 5, 6])
async def test_a_long_response_comes_in_blocks(vm: CoapVm, client: aiocoap.Context, exponent: int) -> None:
    answer = await ask(client, vm, aiocoap.GET, "large", block2=(0, False, exponent))
    assert answer.payload == LARGE
    assert len(answer.opt.etag) == 4


async def test_a_long_response_comes_in_blocks_unasked(vm: CoapVm, client: aiocoap.Context) -> None:
    assert (await ask(client, vm, aiocoap.GET, "large")).payload == LARGE


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5000, 8192])
async def test_a_long_request_is_put_together(vm: CoapVm, client: aiocoap.Context, size: int) -> None:
    body = bytes(range(256)) * 33
    answer = await ask(client, vm, aiocoap.PUT, "body", body[:size])
    assert answer.payload.decode() == f"{size} {zlib.crc32(body[:size])}"


async def test_a_request_beyond_8_kib_is_refused(vm: CoapVm, client: aiocoap.Context) -> None:
    assert (await ask(client, vm, aiocoap.PUT, "body", bytes(8193))).code == aiocoap.REQUEST_ENTITY_TOO_LARGE
    assert (await ask(client, vm, aiocoap.PUT, "body", b"abc")).payload.startswith(b"3 ")


def block1(vm: CoapVm, peer: Peer, number: int, *, more: bool, payload: bytes, mid: int) -> aiocoap.Message:
    request = aiocoap.Message(code=aiocoap.PUT, uri_path=("body",), payload=payload)
    request.opt.block1 = (number, more, 0)
    request.mtype, request.mid, request.token = CON, mid, b"b"
    peer.socket.sendto(request.encode(), ("127.0.0.1", vm.port))
    return peer.receive()


def test_blocks_out_of_order_or_of_two_clients_are_never_mixed(vm: CoapVm) -> None:
    one, other = Peer(), Peer()
    assert block1(vm, one, 1, more=True, payload=bytes(16), mid=1).code == aiocoap.REQUEST_ENTITY_INCOMPLETE
    assert block1(vm, one, 0, more=True, payload=b"a" * 16, mid=2).code == aiocoap.CONTINUE
    assert block1(vm, one, 2, more=False, payload=b"c", mid=3).code == aiocoap.REQUEST_ENTITY_INCOMPLETE
    assert block1(vm, other, 1, more=False, payload=b"x", mid=4).code == aiocoap.REQUEST_ENTITY_INCOMPLETE
    assert block1(vm, one, 1, more=True, payload=b"short", mid=5).code == aiocoap.BAD_REQUEST
    assert block1(vm, one, 1, more=False, payload=b"b", mid=6).payload == b"17 %d" % zlib.crc32(b"a" * 16 + b"b")
    one.close()
    other.close()


def test_a_block_beyond_the_end_and_the_reserved_size(vm: CoapVm) -> None:
    peer = Peer()
    for mid, (block2, expected) in enumerate([((99, False, 5), aiocoap.BAD_REQUEST), ((5, False, 5), aiocoap.CONTENT)]):
        request = aiocoap.Message(code=aiocoap.GET, uri_path=("large",))
        request.opt.block2 = block2
        request.mtype, request.mid, request.token = CON, mid, b"t"
        peer.socket.sendto(request.encode(), ("127.0.0.1", vm.port))
        answer = peer.receive()
        assert answer.code == expected
    assert answer.payload == LARGE[5 * 512 :]
    assert answer.opt.block2 == (5, False, 5)
    raw = bytes([0x41, 1, 0, 77]) + b"t" + b"\xb5large" + bytes([0xC1, 0x07])  # Block2 of size exponent 7
    peer.socket.sendto(raw, ("127.0.0.1", vm.port))
    assert peer.receive().code == aiocoap.BAD_REQUEST
    peer.close()


# --- observation --------------------------------------------------------------------------------------------------------


async def test_aiocoap_observes_every_change(vm: CoapVm, client: aiocoap.Context) -> None:
    request = client.request(aiocoap.Message(code=aiocoap.GET, uri=vm.uri("count"), observe=0))
    first = await asyncio.wait_for(request.response, 10)
    assert (first.payload, first.opt.observe is not None) == (b"0", True)
    seen: list[bytes] = []

    async def follow() -> None:
        async for response in request.observation:
            seen.append(response.payload)  # noqa: PERF401  each is looked at as it comes

    following = asyncio.create_task(follow())

    async def reached(wanted: bytes) -> bool:
        return bool(seen) and seen[-1] == wanted

    for number in range(1, 20):
        await ask(client, vm, aiocoap.PUT, "count")
        await until(lambda number=number: reached(b"%d" % number))
    request.observation.cancel()
    following.cancel()

    async def forgotten() -> bool:
        # aiocoap says so with a Reset to the next notification.
        await ask(client, vm, aiocoap.PUT, "count")
        return bool((await ask(client, vm, aiocoap.GET, "observers")).payload == b"0")

    await until(forgotten)


def observe(vm: CoapVm, peer: Peer, value: int, mid: int, token: bytes) -> aiocoap.Message:
    request = aiocoap.Message(code=aiocoap.GET, uri_path=("count",), observe=value)
    request.mtype, request.mid, request.token = CON, mid, token
    peer.socket.sendto(request.encode(), ("127.0.0.1", vm.port))
    return peer.receive()


def change(vm: CoapVm, peer: Peer, mid: int) -> None:
    peer.socket.sendto(message(CON, aiocoap.PUT, mid, b"c", b"", ("count",)), ("127.0.0.1", vm.port))
    assert peer.receive().code == aiocoap.CHANGED


def test_numbering_confirmable_notifications_and_the_end(vm: CoapVm) -> None:
    observer, writer = Peer(), Peer()
    numbers = [observe(vm, observer, 0, 1, b"o").opt.observe]
    kinds = []
    for mid in range(1, 17):
        change(vm, writer, mid)
        notification = observer.receive()
        kinds.append(notification.mtype)
        numbers.append(notification.opt.observe)
        assert (notification.token, notification.payload) == (b"o", b"%d" % mid)
        assert notification.opt.max_age == 60
        if notification.mtype == CON:
            observer.socket.sendto(message(ACK, aiocoap.EMPTY, notification.mid), ("127.0.0.1", vm.port))
    assert numbers == sorted(set(numbers)), "RFC 7641 3.4: a later notification has a greater number"
    assert kinds.count(CON) == 2
    answer = observe(vm, observer, 1, 2, b"o")
    assert (answer.payload, answer.opt.observe) == (b"16", None)
    change(vm, writer, 17)
    assert observer.is_silent()
    observer.close()
    writer.close()


def test_an_unacknowledged_notification_is_repeated_and_then_ends_it(vm: CoapVm) -> None:
    observer, writer = Peer(), Peer()
    observe(vm, observer, 0, 1, b"o")
    mids = []
    for mid in range(1, 9):
        change(vm, writer, mid)
        last = observer.receive()
        mids.append(last.mid)
        if last.mtype == CON:
            break
    assert last.mtype == CON
    assert observer.receive().mid == last.mid, "repeated with RFC 7252's back-off"
    observer.socket.sendto(message(RST, aiocoap.EMPTY, last.mid), ("127.0.0.1", vm.port))
    change(vm, writer, 100)
    assert observer.is_silent(0.3)
    observer.close()
    writer.close()


def test_the_number_of_observers_is_bounded(vm: CoapVm) -> None:
    peer = Peer()
    answers = [observe(vm, peer, 0, mid, bytes([mid])) for mid in range(1, 8)]
    assert [answer.opt.observe is not None for answer in answers] == [True] * 4 + [False] * 3
    assert all(answer.code == aiocoap.CONTENT for answer in answers)
    peer.close()


# --- separate responses ---------------------------------------------------------------------------------------------------


def test_a_slow_answer_is_acknowledged_first_and_repeated_until_acknowledged(vm: CoapVm) -> None:
    peer = Peer()
    request = message(CON, aiocoap.GET, 9, b"s", b"", ("slow",))
    peer.socket.sendto(request, ("127.0.0.1", vm.port))
    empty = peer.receive()
    assert (empty.mtype, empty.code, empty.mid) == (ACK, aiocoap.EMPTY, 9)
    peer.socket.sendto(request, ("127.0.0.1", vm.port))
    again = peer.receive()
    assert (again.mtype, again.code) == (ACK, aiocoap.EMPTY)
    raw, repeated = peer.receive_bytes(), peer.receive_bytes()
    first = aiocoap.Message.decode(raw)
    assert (first.mtype, first.token, first.payload) == (CON, b"s", b"slow 1"), "done once"
    assert raw == repeated
    peer.socket.sendto(message(ACK, aiocoap.EMPTY, first.mid), ("127.0.0.1", vm.port))
    assert peer.is_silent(0.5)
    peer.close()


async def test_aiocoap_takes_a_separate_response(vm: CoapVm, client: aiocoap.Context) -> None:
    assert (await ask(client, vm, aiocoap.GET, "slow")).payload == b"slow 1"


# --- libcoap ----------------------------------------------------------------------------------------------------------------


def libcoap(name: str) -> str:
    found = shutil.which(f"{name}-notls") or shutil.which(name)
    require_part("libcoap", found=found is not None, how="make deps-test")
    assert found is not None
    return found


def run_client(*words: str) -> str:
    done = subprocess.run([libcoap("coap-client"), *words], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout


def test_libcoap_reads_and_writes_in_blocks(vm: CoapVm, tmp_path: Path) -> None:
    assert run_client("-B", "5", vm.uri("large")).strip().encode() == LARGE
    assert run_client("-B", "5", "-b", "64", vm.uri("large")).strip().encode() == LARGE
    (tmp_path / "body").write_bytes(b"q" * 3000)
    output = run_client("-B", "5", "-b", "256", "-m", "put", "-f", str(tmp_path / "body"), vm.uri("body"))
    assert output.strip() == f"3000 {zlib.crc32(b'q' * 3000)}"


async def test_libcoap_observes(vm: CoapVm, client: aiocoap.Context) -> None:
    process = await asyncio.create_subprocess_exec(
        libcoap("coap-client"), "-s", "2", "-B", "5", vm.uri("count"), stdout=asyncio.subprocess.PIPE
    )

    async def observed() -> bool:
        return bool((await ask(client, vm, aiocoap.GET, "observers")).payload == b"1")

    await until(observed)
    await ask(client, vm, aiocoap.PUT, "count")
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert output.split()[:2] == [b"0", b"1"] or b"01" in output
    assert (await ask(client, vm, aiocoap.GET, "observers")).payload == b"0", "libcoap deregisters with Observe 1"


async def test_the_node_asks_a_libcoap_server(tmp_path: Path, client: aiocoap.Context) -> None:
    """coap-server answers `GET /async?1` with an empty acknowledgement and a separate response a second later."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with CoapVm(tmp_path, peer_port=port) as vm:
        server = await asyncio.create_subprocess_exec(
            libcoap("coap-server"), "-A", "127.0.0.1", "-p", str(port), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            for path, expected in (("time", b"2.05 "), ("async", b"2.05 "), ("nothing", b"4.04 ")):
                await until(lambda: answers(client, port))
                await ask(client, vm, aiocoap.PUT, "ask", path.encode())

                async def answered(expected: bytes = expected) -> bool:
                    return bool((await ask(client, vm, aiocoap.GET, "result")).payload.startswith(expected))

                await until(answered)
        finally:
            server.terminate()
            await server.wait()


async def answers(client: aiocoap.Context, port: int) -> bool:
    """Whether a server is there."""
    request = aiocoap.Message(code=aiocoap.GET, uri=f"coap://127.0.0.1:{port}/")
    try:
        await asyncio.wait_for(client.request(request).response, 1)
    except (TimeoutError, aiocoap.error.NetworkError):
        return False
    return True
