"""The fast path on aiocoap's socket: slow disks, foreign datagrams, and the day when aiocoap is built differently."""

from __future__ import annotations

import asyncio
import random
import socket
import sqlite3
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from gateway.oscore_peer import keys
from gateway.packs import pack, temperature

from andon_gateway.coap.datagrams import DoesNotFitError, open_inside
from andon_gateway.coap.fast_path import FastCounts, FastPath
from andon_gateway.coap.recent import RecentRequests
from andon_gateway.coap.resources import build_site
from andon_gateway.coap.route import Route
from andon_gateway.coap.server import CoapEndpoint
from andon_gateway.nodes.gate import GateLimits, NodeGate
from andon_gateway.nodes.table import Address, NodeTable
from andon_gateway.security.access import AccessPolicy
from andon_gateway.security.oscore import Credential, SecurityContext
from andon_gateway.security.oscore_keys import CredentialsEvent, KeyRing
from andon_gateway.security.oscore_site import ProtectedSite
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.spool.intake import TelemetryIntake
from andon_gateway.spool.spool import Spool
from andon_gateway.uplink.assets import AssetTable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

PATIENCE_S = 20.0
HEAD = b"\xb1t\x11\x70\xff"


class Parts:
    """The gateway's parts that a pack passes, in this process."""

    def __init__(self, folder: Path, deliver: Any) -> None:
        self.database = GroupCommit(folder / "gateway.sqlite3", deliver)
        reader = open_reader(self.database.path)
        self.spool = Spool(self.database)
        self.nodes, self.keys = NodeTable(self.database, reader), KeyRing(self.database, reader)
        limits = GateLimits(packs_per_s=0, most=1000, most_unknown=1000)
        self.gate = NodeGate(limits, self.nodes, AssetTable(self.database, reader), self.spool.forget_node)
        self.access = AccessPolicy(self.keys, "*")
        self.intake = TelemetryIntake(self.spool, self.nodes, self.access, self.gate)
        reader.close()
        self.database.start()


class Running(Parts):
    """The same behind a real socket."""

    coap: CoapEndpoint
    counts: FastCounts

    async def open(self, folder: Path) -> Running:
        self.coap = await CoapEndpoint.open("127.0.0.1", 0)
        self.coap.serve(ProtectedSite(build_site(self.intake, self.nodes, self.access, folder), self.keys))
        self.counts = FastCounts()
        return self


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = await Running(tmp_path, asyncio.get_running_loop().call_soon_threadsafe).open(tmp_path)
    yield running
    await running.coap.close()
    await asyncio.to_thread(running.database.close)


def delay(running: Parts, seconds: float) -> None:
    """Make every commit as slow as that."""

    def wait(_connection: sqlite3.Connection) -> None:
        time.sleep(seconds)

    running.database.before_commit.append(wait)


async def receive(sock: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 2000), PATIENCE_S)


async def answered(sock: socket.socket) -> bytes:
    """The answer itself, wherever it comes; a busy machine's disk may be slow."""
    while (answer := await receive(sock))[1] == 0:
        pass
    if answer[0] >> 4 & 3 == 0:
        sock.send(b"\x60\x00" + answer[2:4])
    return answer


def client(running: Running) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect(("127.0.0.1", running.coap.port))
    return sock


@pytest.mark.parametrize("fast", [True, False])
async def test_a_slow_disk_is_acknowledged_first_and_answered_separately(running: Running, *, fast: bool) -> None:
    """RFC 7252 5.2.2, the same on both ways: empty acknowledgement, then a confirmable answer, repeated until it is acknowledged."""
    if fast:
        running.coap.hasten(running.intake, running.keys, running.counts)
    delay(running, 0.6)
    node = client(running)
    request = b"\x44\x02\x12\x34toke" + HEAD + pack("press-7", 1, 0, temperature(1.5))
    node.send(request)
    assert await receive(node) == b"\x60\x00\x12\x34"
    node.send(request)
    assert await receive(node) == b"\x60\x00\x12\x34", "a duplicate is acknowledged in the same way"
    answers = [await receive(node) for _ in range(2)]
    assert answers[0] == answers[1], "not repeated"
    assert (answers[0][:2], answers[0][4:]) == (b"\x44\x44", b"toke")
    node.send(b"\x60\x00" + answers[0][2:4])
    node.close()
    assert (running.intake.counts.packs, running.intake.counts.duplicates) == (1, 0)
    assert running.counts.fast == (1 if fast else 0)


@pytest.mark.parametrize("fast", [True, False])
async def test_a_request_with_the_id_of_a_separate_response(
    running: Running, caplog: pytest.LogCaptureFixture, *, fast: bool
) -> None:
    """Node and gateway number their messages for themselves: a repeated request gets its own answer, and nobody raises."""
    if fast:
        running.coap.hasten(running.intake, running.keys, running.counts)
    node = client(running)
    question = b"\x42\x01\x22\x22ti\xb4time"
    node.send(question)
    first = await receive(node)
    assert first[:6] == b"\x62\x45\x22\x22ti"
    delay(running, 0.6)
    running.coap._context.request_interfaces[0].token_interface.message_id = 0x2222
    node.send(b"\x42\x02\x33\x33tk" + HEAD + pack("press-7", 1, 0, temperature(1.5)))
    assert await receive(node) == b"\x60\x00\x33\x33"
    separate = await receive(node)
    assert (separate[:2], separate[2:4]) == (b"\x42\x44", b"\x22\x22"), "not the id that this test is about"
    node.send(b"\x60\x00\x22\x22")
    node.send(question)
    while (again := await receive(node)) == separate:
        pass  # repeated before the acknowledgement came
    assert again == first
    node.close()
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.parametrize("fast", [True, False])
async def test_a_stranger_that_is_gone_takes_no_answer_from_others(running: Running, *, fast: bool) -> None:
    """The ICMP error of a message to a closed port is told to whoever sends next; that message goes out, and nothing ends with it."""
    if fast:
        running.coap.hasten(running.intake, running.keys, running.counts)
    delay(running, 0.6)
    node = client(running)
    for number in range(3):
        stranger = client(running)
        mid = b"\x12" + bytes([number])
        node.send(b"\x44\x02" + mid + b"toke" + HEAD + pack("press-7", 1, number, temperature(1.5)))
        assert await receive(node) == b"\x60\x00" + mid
        transport = running.coap._context.request_interfaces[0].token_interface.message_interface.transport
        port = stranger.getsockname()[1]
        stranger.close()
        send = transport.sendmsg
        sent: list[bytes] = []

        def to_a_closed_port_first(
            data: bytes, *rest: Any, send: Any = send, sent: list[bytes] = sent, port: int = port
        ) -> None:
            if data[1]:  # the separate response: in the same turn of the loop something else is sent before it
                running.coap.socket.sendto(b"\x60\x00\x00\x00", ("::ffff:127.0.0.1", port))
                sent.append(data)
            send(data, *rest)

        transport.sendmsg = to_a_closed_port_first
        answer = await receive(node)
        transport.sendmsg = send
        assert sent, "the error did not come in between"
        assert (answer[:2], answer[4:8]) == (b"\x44\x44", b"toke")
        node.send(b"\x60\x00" + answer[2:4])
    node.close()


async def test_nothing_is_answered_before_it_is_durable(running: Running) -> None:
    """Each answer of success comes after the fsync of a commit that holds the pack; a failing commit makes it 5.03."""
    running.coap.hasten(running.intake, running.keys, running.counts)
    broken = [False]

    def fail(_connection: sqlite3.Connection) -> None:
        if broken[0]:
            raise sqlite3.OperationalError("disk I/O error")

    running.database.before_commit.append(fail)
    node = client(running)
    reader = open_reader(running.database.path)
    kept = 0
    for seq in range(30):
        broken[0] = seq % 3 == 2
        node.send(
            b"\x42\x02" + seq.to_bytes(2, "big") + b"t%c" % seq + HEAD + pack("press-7", 1, seq, temperature(seq))
        )
        answer = await answered(node)
        assert answer[4:6] == b"t%c" % seq
        kept += not broken[0]
        assert reader.execute("SELECT count(*) FROM spool").fetchone() == (kept,)
        assert answer[1] == (0xA3 if broken[0] else 0x44)
        assert not broken[0] or answer[6:9] == b"\xd1\x01\x05", "no Max-Age"
    broken[0] = False
    (mode,) = await asyncio.wrap_future(running.database.run(lambda c: c.execute("PRAGMA synchronous").fetchone()))
    assert mode >= 2, "FULL or better"
    reader.close()
    node.close()


async def test_an_icmp_error_does_not_make_the_gateway_deaf(running: Running) -> None:
    running.coap.hasten(running.intake, running.keys, running.counts)
    running.coap.secure(running.keys, running.access)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        dead = Address("127.0.0.1", gone.getsockname()[1])
    node = client(running)
    for seq in range(5):
        with pytest.raises(OSError, match=r"\w"):
            await running.coap.put_json("press-9", dead, "relay/0", b"{}", 5.0)
        node.send(b"\x42\x02" + seq.to_bytes(2, "big") + b"tk" + HEAD + pack("press-7", 1, seq, temperature(seq)))
        assert (await answered(node))[1] == 0x44
    node.close()


async def test_a_datagram_that_aiocoap_chokes_on_does_not_stop_the_others(running: Running) -> None:
    running.coap.hasten(running.intake, running.keys, running.counts)
    node = client(running)
    for datagram in (
        b"",
        b"\x40",
        b"\x40\x02\x00\x01\xb1\xff",
        b"\x40\x02\x00\x02\xd1",
        b"\xc0\x02\x00\x03",
        b"\x49\x02\x00\x04" + b"t" * 9,
    ):
        node.send(datagram)
    node.send(b"\x42\x02\x00\x09tk" + HEAD + pack("press-7", 1, 0, temperature(1.5)))
    while (await answered(node))[4:6] != b"tk":
        pass
    assert running.intake.counts.packs == 1
    assert running.counts.malformed >= 3
    node.close()


async def test_this_aiocoap_fits(running: Running) -> None:
    """Fails after an upgrade that moved what the fast path needs: adapt `open_inside`; until then gateways run without it."""
    inside = open_inside(running.coap._context)
    first, second = inside.next_message_id(), inside.next_message_id()
    assert second == (first + 1) % 65536
    assert inside.socket.getsockname()[1] == running.coap.port
    remote = inside.remote(("::ffff:127.0.0.1", 5, 0, 0), b"\0" * 20)
    assert remote.hostinfo == "127.0.0.1:5"
    assert inside.datagram.__name__ == "datagram_msg_received"


@pytest.mark.parametrize("context", [SimpleNamespace(), SimpleNamespace(request_interfaces=[]), SimpleNamespace(
    request_interfaces=[SimpleNamespace(token_interface=SimpleNamespace(message_interface=SimpleNamespace()))])])  # fmt: skip
def test_another_aiocoap_is_recognized(context: Any) -> None:
    with pytest.raises(DoesNotFitError, match="aiocoap"):
        open_inside(context)


async def test_without_fast_path_all_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(type(running.coap._context.request_interfaces[0].token_interface), "_next_message_id")
    running.coap.hasten(running.intake, running.keys, running.counts)
    assert "no fast path" in caplog.text
    node = client(running)
    node.send(b"\x42\x02\x00\x09tk" + HEAD + pack("press-7", 1, 0, temperature(1.5)))
    assert (await answered(node))[1] == 0x44
    assert running.counts.fast == 0
    node.close()


def test_recent_requests_are_forgotten_in_time_and_at_the_limit() -> None:
    recent = RecentRequests(most=100, lifetime_s=10)
    for batch in range(50):
        for key in range(batch * 10, batch * 10 + 10):
            recent.answers[key] = b"answer"
            recent.fresh.append(key)
        recent.age(float(batch))
        oldest = max(0, batch - 9) * 10
        assert sorted(recent.answers) == list(range(oldest, batch * 10 + 10))
    recent.settle(0, b"late")
    assert 0 not in recent.answers
    recent.age(1e6)
    assert not recent.answers


class Sink:
    """The wire's end in the fuzz test: everything that would be sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, message: bytes, _route: Any) -> None:
        assert len(message) >= 4
        self.sent.append(message)

    def send_all(self, messages: Sequence[Any]) -> None:
        for message in messages:
            self.send(*message)

    def send_separately(self, *_: Any) -> None:
        raise AssertionError("no timer runs here")

    def next_message_id(self) -> int:
        return 7


def hostile(dice: random.Random, node: SecurityContext) -> bytes:
    """A datagram: noise, or a good one with something wrong."""
    way = dice.randrange(8)
    if way == 0:
        return dice.randbytes(dice.randrange(64))
    payload = pack(dice.choice(["a", "b", "press-7"]), 1, dice.randrange(500), temperature(dice.uniform(-50, 999)))
    if way == 1:
        payload = dice.randbytes(dice.randrange(1200))
    elif way == 2:
        payload = bytes([dice.choice([0x9F, 0xBF, 0x82, 0xC4, 0xDF, 0xFB])]) * dice.randrange(1, 900)
    rest = HEAD + payload
    if way >= 6:
        option, ciphertext, _ = node.protect_request(b"\x02" + rest)
        rest = bytes([0x90 | len(option)]) + option + b"\xff" + ciphertext
    token = dice.randbytes(dice.randrange(9))
    head = bytes([0x40 | dice.randrange(4) << 4 | len(token), dice.choice([2, 2, 2, 2, 1, 0, 0x44, 31])])
    data = bytearray(head + dice.randrange(3000).to_bytes(2, "big") + token + rest)
    for _ in range(dice.choice([0, 0, 1, 1, 4])):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data[: dice.choice([len(data), len(data), dice.randrange(len(data) + 1)])])


async def test_hostile_datagrams_never_raise_and_memory_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 of them, in the clear and protected; a seed that failed is in the message."""
    monkeypatch.setattr("andon_gateway.coap.fast_path.MOST_PEERS", 64)
    waiting: list[Any] = []
    parts = Parts(tmp_path, waiting.append)
    event = {"version": 1, "nodes": {"press-7": keys(1)}}
    await parts.keys.replace(CredentialsEvent.model_validate(event))
    held = keys(1)
    secret, salt = bytes.fromhex(held["secret"]), bytes.fromhex(held["salt"])
    numbers = iter(range(1, 1 << 30))
    node = SecurityContext(
        Credential("node", secret, salt, node_id=b"\0", gateway_id=b"\1"), SimpleNamespace(take=lambda: next(numbers))
    )
    context = parts.keys.of_node("press-7")
    assert context is not None
    context.window.restart(0)
    counts = FastCounts()
    fast = FastPath(parts.intake, parts.keys, lambda a: Address(a[0], a[1]), lambda _s, _call: None, counts)
    fast._recent = RecentRequests(most=2000)
    sink = Sink()
    fast.attach(sink)
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    elsewhere = 0
    for number in range(10_000):
        if number % 50 == 0:
            fast.end(float(number))
            fast.begin(time.time_ns() // 1_000_000)
        datagram = hostile(dice, node)
        address = (f"::ffff:10.0.0.{dice.randrange(200)}", 5683, 0, 0)
        try:
            elsewhere += not fast.take(datagram, Route([(41, 50, b"\0" * 20)], address))
        except Exception as error:
            raise AssertionError(f"seed {seed}, datagram {datagram.hex()}") from error
    fast.end(1e4)
    parts.database.run(lambda _connection: None).result(PATIENCE_S)
    while waiting:
        waiting.pop(0)()
    assert counts.fast + counts.repeated + counts.malformed + counts.aiocoap + counts.shed == 10_000
    assert counts.aiocoap == elsewhere
    assert parts.intake.counts.packs > 100, "nothing good among them: the test does not reach far"
    assert len(fast._peers) <= 64
    assert len(fast._recent.answers) <= 2000 + 50
    assert len(sink.sent) <= counts.fast + counts.repeated
    parts.database.close()


def test_a_flood_for_aiocoap_is_shed_and_telemetry_is_not(tmp_path: Path) -> None:
    """aiocoap keeps kilobytes for minutes for each request that it sees: it sees a bounded number of them."""
    parts = Parts(tmp_path, lambda _call: None)
    counts = FastCounts()
    fast = FastPath(parts.intake, parts.keys, lambda a: Address(a[0], a[1]), lambda _s, _call: None, counts)
    fast.attach(Sink())
    routes = [Route([(41, 50, b"\0" * 20)], ("::1", sender, 0, 0)) for sender in range(20)]
    for sender, route in enumerate(routes):
        for mid in range(1000):
            fast.take(b"\x40\x01" + mid.to_bytes(2, "big") + b"\xb4time", route)
        if sender == 0:
            assert 400 <= counts.aiocoap < 1000, "one sender has its share and no more"
    assert 4000 <= counts.aiocoap < 15_000
    assert counts.shed == 20_000 - counts.aiocoap
    request = b"\x42\x02\x40\x00tk" + HEAD + pack("press-7", 1, 0, temperature(1.5))
    assert fast.take(request, routes[0])
    assert fast.take(b"\x60\x00\x00\x01", routes[0]) is False, "acknowledgements always pass"
    assert counts.fast == 1
    parts.database.close()


def test_what_waits_for_its_acknowledgement_is_forgotten_though_timers_are_late(tmp_path: Path) -> None:
    """A busy event loop runs its timers late; 400 bytes of each request stayed in memory for ever."""
    calls: list[Any] = []
    parts = Parts(tmp_path, calls.append)
    timers: list[tuple[float, Any]] = []
    now_s = 0.0

    def later(delay_s: float, call: Any) -> None:
        timers.append((now_s + delay_s + 0.008, call))

    fast = FastPath(parts.intake, parts.keys, lambda a: Address(a[0], a[1]), later, FastCounts())
    fast.attach(Sink())
    for seq in range(1000):
        now_s = seq * 0.005
        fast.begin(time.time_ns() // 1_000_000)
        request = b"\x42\x02" + seq.to_bytes(2, "big") + b"tk" + HEAD + pack("press-7", 1, seq, temperature(1.5))
        assert fast.take(request, Route([(41, 50, b"\0" * 20)], ("::1", 1, 0, 0)))
        fast.end(now_s)
        for timer in [timer for timer in timers if timer[0] <= now_s]:
            timers.remove(timer)
            timer[1]()
        assert len(timers) == 1
        assert len(fast._unacknowledged) <= 30, "0.1 s of them, and what is late"
    parts.database.close()
