"""The gateway's CoAP resources, asked by two independent clients: aiocoap and libcoap."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
import pytest_asyncio
from aiocoap.numbers.contentformat import ContentFormat  # type: ignore[import-untyped]  # same
from gateway.gateway_process import GatewayProcess
from gateway.packs import pack, temperature
from gateway.stand_in_cloud import wait_until
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    Ask = Callable[..., Awaitable[aiocoap.Message]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for all tests here; no cloud listens, and none is needed."""
    process = GatewayProcess(tmp_path_factory.mktemp("coap"), "http://127.0.0.1:1").start()
    (process.state_dir / "fw" / "linked").symlink_to(process.database)
    yield process
    process.kill()


@pytest_asyncio.fixture(loop_scope="function")
async def ask(running: GatewayProcess) -> AsyncIterator[Ask]:
    """Sends one request to the running gateway."""
    gateway = running
    context = await aiocoap.Context.create_client_context(transports=["udp6"])

    async def request(code: Any, path: str, payload: bytes = b"", **options: Any) -> aiocoap.Message:
        uri = f"coap://127.0.0.1:{gateway.coap_port}/{path}"
        message = aiocoap.Message(code=code, uri=uri, payload=payload, **options)
        return await asyncio.wait_for(context.request(message).response, 90)

    yield request
    await context.shutdown()


def counts(running: GatewayProcess) -> list[float]:
    """Packs, readings and duplicates taken so far."""
    return [running.metric(name) for name in ("packs_total", "readings_total", "duplicate_packs_total")]


def a_pack(seq: int = 0) -> bytes:
    return pack("press-7", 1, seq, temperature(20.5))


async def test_a_pack_and_its_duplicate_are_answered_alike(ask: Ask, running: GatewayProcess) -> None:
    before = await asyncio.to_thread(counts, running)
    for _ in range(2):
        answer = await ask(aiocoap.POST, "t", a_pack(), content_format=112)
        assert (answer.code, answer.payload) == (aiocoap.CHANGED, b"")
    text = b'[{"bn":"press-7/","n":"boot","v":1},{"n":"seq","v":1},{"n":"temperature/0","v":1},{"n":"humidity","v":1}]'
    assert (await ask(aiocoap.POST, "t", text, content_format=110)).code == aiocoap.CHANGED
    after = await asyncio.to_thread(counts, running)
    assert [new - old for old, new in zip(before, after, strict=True)] == [2, 2, 1]
    assert 'rejected_records_total{reason="name"} 1.0' in await asyncio.to_thread(running.get, "/metrics")


@pytest.mark.parametrize(
    ("code", "path", "payload", "options", "expected"),
    [
        (aiocoap.POST, "t", b"not cbor", {"content_format": 112}, aiocoap.BAD_REQUEST),
        (aiocoap.POST, "t", b"x" * 1025, {"content_format": 112}, aiocoap.REQUEST_ENTITY_TOO_LARGE),
        (aiocoap.POST, "t", b"x" * 5000, {"content_format": 112}, aiocoap.REQUEST_ENTITY_TOO_LARGE),
        (aiocoap.POST, "t", b"{}", {"content_format": 50}, aiocoap.UNSUPPORTED_CONTENT_FORMAT),
        (aiocoap.POST, "t", b"{}", {}, aiocoap.UNSUPPORTED_CONTENT_FORMAT),
        (aiocoap.GET, "t", b"", {}, aiocoap.METHOD_NOT_ALLOWED),
        (aiocoap.GET, "nothing/here", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "config", b"", {}, aiocoap.BAD_REQUEST),
        (aiocoap.GET, "config?ep=../x", b"", {}, aiocoap.BAD_REQUEST),
        (aiocoap.GET, "config?ep=press-7", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "fw/absent.bin", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "fw", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "fw/..%2Frunning.sqlite3", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "fw/../running.sqlite3", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "fw/linked", b"", {}, aiocoap.NOT_FOUND),
        (aiocoap.GET, "time", b"", {"accept": 60}, aiocoap.NOT_ACCEPTABLE),
        (aiocoap.POST, "rd?ep=Press_7", b"", {}, aiocoap.BAD_REQUEST),
        (aiocoap.POST, "rd?ep=press-7&lt=0", b"", {}, aiocoap.BAD_REQUEST),
        (aiocoap.POST, "rd?ep=press-7&lt=forever", b"", {}, aiocoap.BAD_REQUEST),
        (aiocoap.POST, "rd?ep=press-7&ep=b", b"", {}, aiocoap.BAD_REQUEST),
        (aiocoap.POST, "rd?ep=press-7", b"{}", {"content_format": 50}, aiocoap.UNSUPPORTED_CONTENT_FORMAT),
    ],
)
async def test_every_error_carries_one_line_of_diagnosis(
    ask: Ask, code: Any, path: str, payload: bytes, options: dict[str, Any], expected: Any
) -> None:
    answer = await ask(code, path, payload, **options)
    assert answer.code == expected
    assert answer.payload
    assert b"\n" not in answer.payload
    assert answer.payload.decode().isprintable()


async def test_registration_makes_the_address_and_outlives_the_gateway(ask: Ask, running: GatewayProcess) -> None:
    answer = await ask(aiocoap.POST, "rd?ep=press-7&lt=60", b"</relay/0>", content_format=ContentFormat.LINKFORMAT)
    assert (answer.code, answer.opt.location_path) == (aiocoap.CREATED, ("rd", "press-7"))
    known = await asyncio.to_thread(running.metric, "nodes_known")
    assert known >= 1
    await asyncio.to_thread(running.kill)
    await asyncio.to_thread(running.start)
    assert await asyncio.to_thread(running.metric, "nodes_known") == known


async def test_time(ask: Ask) -> None:
    before = time.time() * 1000 - 1
    answer = await ask(aiocoap.GET, "time")
    assert before <= int(answer.payload) <= time.time() * 1000
    assert answer.payload.isdigit()


async def test_configuration_with_etag(ask: Ask, running: GatewayProcess) -> None:
    (running.state_dir / "config" / "press-7.json").write_text('{"sample_ms": 500}')
    answer = await ask(aiocoap.GET, "config?ep=press-7")
    assert json.loads(answer.payload) == {"sample_ms": 500}
    assert answer.opt.content_format == ContentFormat.JSON
    again = await ask(aiocoap.GET, "config?ep=press-7", etags=[answer.opt.etag])
    assert (again.code, again.payload) == (aiocoap.VALID, b"")
    (running.state_dir / "config" / "press-7.json").write_text('{"sample_ms": 250}')
    changed = await ask(aiocoap.GET, "config?ep=press-7", etags=[answer.opt.etag])
    assert (changed.code, changed.opt.etag != answer.opt.etag) == (aiocoap.CONTENT, True)


async def test_firmware_comes_in_blocks(ask: Ask, running: GatewayProcess) -> None:
    image = bytes(range(256)) * 200
    (running.state_dir / "fw" / "node-1.2.0.bin").write_bytes(image)
    answer = await ask(aiocoap.GET, "fw/node-1.2.0.bin")
    assert answer.payload == image
    assert answer.opt.etag


async def test_links(ask: Ask) -> None:
    answer = await ask(aiocoap.GET, ".well-known/core")
    for path in ("/t", "/rd", "/time", "/config"):
        assert f"<{path}>" in answer.payload.decode()


@pytest.fixture
def libcoap() -> str:
    names = ("coap-client-notls", "coap-client-openssl", "coap-client-gnutls", "coap-client")
    found = next((path for path in map(shutil.which, names) if path), None)
    require_part("libcoap", found=found is not None, how="make deps-test")
    assert found is not None
    return found


def run_libcoap(program: str, running: GatewayProcess, path: str, *options: str) -> tuple[str, str]:
    command = [program, "-B", "60", *options, f"coap://127.0.0.1:{running.coap_port}/{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    return done.stdout, done.stderr


def test_libcoap_posts_a_pack(libcoap: str, running: GatewayProcess, tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(pack("libcoap-1", 1, 0, temperature(20.5)))
    before = counts(running)
    post = ("-m", "post", "-f", str(tmp_path / "pack"), "-t", "112", "-v", "7")
    out, err = run_libcoap(libcoap, running, "t", *post)
    assert "2.04" in out + err
    assert counts(running)[0] == before[0] + 1
    (tmp_path / "pack").write_bytes(b"\xff")
    out, err = run_libcoap(libcoap, running, "t", *post)
    assert "4.00" in out + err
    assert "not CBOR" in out + err


def test_libcoap_registers_reads_and_fetches_blocks(libcoap: str, running: GatewayProcess) -> None:
    out, err = run_libcoap(
        libcoap, running, "rd?ep=press-7&lt=60", "-m", "post", "-e", "</relay/0>", "-t", "40", "-v", "7"
    )
    assert "2.01" in out + err
    assert "Location-Path:press-7" in out + err
    out, err = run_libcoap(libcoap, running, "time")
    assert out.strip().isdigit()
    image = "".join(f"{number:08}" for number in range(1000))
    (running.state_dir / "fw" / "image.bin").write_text(image)
    out, err = run_libcoap(libcoap, running, "fw/image.bin", "-b", "256")
    assert out.strip() == image
    out, err = run_libcoap(libcoap, running, ".well-known/core")
    assert "</t>" in out


def test_hostile_datagrams_change_nothing(running: GatewayProcess) -> None:
    before = counts(running)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        for datagram in (b"", b"\x00", b"\x40", b"\xff" * 1400, b"\x49\x02\x00\x01" + b"t" * 9, b"\x40\x02\x00\x01\xff",
                         b"\x40\x02\x00\x01\xb1t\xff" + b"\x9f" * 900, bytes(range(256))):  # fmt: skip
            attacker.sendto(datagram, ("127.0.0.1", running.coap_port))
    wait_until(lambda: json.loads(running.get("/healthz"))["healthy"], "a healthy gateway")
    assert counts(running) == before
