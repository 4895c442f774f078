"""Real worker processes before the gateway's parts in this process: slow disks, ICMP errors, keys that change, workers that hang."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
import pytest_asyncio
from gateway.oscore_peer import keys
from gateway.packs import pack, temperature
from gateway.test_coap_socket import HEAD, Running, answered, client, delay, receive
from gateway.test_commands import until
from gateway.test_fast_path import message, node, option
from gateway.test_workers import workers_of
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.coap.fast_path import FastCounts
from andon_gateway.coap.resources import build_site
from andon_gateway.nodes.table import Address
from andon_gateway.security.oscore import ECHO, SecurityContext, find_option
from andon_gateway.security.oscore_keys import CredentialsEvent
from andon_gateway.security.oscore_site import ProtectedSite
from andon_gateway.senml.pack import Pack, Reading
from andon_gateway.workers import frames, team
from andon_gateway.workers.crossing import Packer, Unpacker
from andon_gateway.workers.desk import Desk, Office
from andon_gateway.workers.sockets import beside, open_shared
from andon_gateway.workers.team import Team
from andon_gateway.workers.upstream import FEW_IDS, MessageIds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)  # several processes are started, on a machine that may be busy
TELEMETRY = b"\x02\xb1t\x11\x70"


class Staffed(Running):
    """The gateway's parts behind two workers."""

    team: Team
    office: Office

    async def open(self, folder: Path) -> Staffed:
        self.coap = await open_shared("127.0.0.1", 0)
        self.coap.serve(ProtectedSite(build_site(self.intake, self.nodes, self.access, folder), self.keys))
        self.coap.secure(self.keys, self.access)
        self.counts = FastCounts()
        self.team = Team(beside(self.coap.socket, 2), "info", 0.005)
        reader = self.coap.hasten(self.intake, self.keys, self.counts)
        assert reader is not None
        reader.pause()
        self.office = Office(self.intake, self.keys, reader, self.counts)
        await self.keys.open()
        await self.team.start(self.office)
        return self

    async def give_keys(self, version: int, **table: dict[str, str]) -> None:
        nodes = {name.replace("_", "-"): own for name, own in table.items()}
        await self.keys.replace(CredentialsEvent.model_validate({"version": version, "nodes": nodes}))


@pytest_asyncio.fixture
async def staffed(tmp_path: Path) -> AsyncIterator[Staffed]:
    staffed = await Staffed(tmp_path, asyncio.get_running_loop().call_soon_threadsafe).open(tmp_path)
    yield staffed
    await staffed.team.stop()
    await staffed.coap.close()
    await asyncio.to_thread(staffed.database.close)


async def test_a_slow_disk_is_acknowledged_first_and_answered_separately(staffed: Staffed) -> None:
    """The worker acknowledges; the answer is the gateway's to repeat, and its acknowledgement comes back through a worker."""
    delay(staffed, 0.6)
    sender = client(staffed)
    request = b"\x44\x02\x12\x34toke" + HEAD + pack("press-7", 1, 0, temperature(1.5))
    sender.send(request)
    assert await receive(sender) == b"\x60\x00\x12\x34"
    answers = [await receive(sender) for _ in range(2)]
    assert answers[0] == answers[1], "not repeated"
    assert (answers[0][:2], answers[0][4:]) == (b"\x44\x44", b"toke")
    sender.send(b"\x60\x00" + answers[0][2:4])
    sender.close()
    assert (staffed.intake.counts.packs, staffed.intake.counts.duplicates) == (1, 0)


async def test_an_icmp_error_reaches_the_request_that_it_is_about(staffed: Staffed) -> None:
    with pytest.raises(OSError, match=r".") as dead_end:
        await staffed.coap.put_json("press-9", closed_port(), "relay/0", b"{}", 60.0)
    assert "NetworkError" in str(dead_end.value), "an answer that did not come in 60 s has another name"
    sender = client(staffed)
    sender.send(b"\x42\x02\x00\x01tk" + HEAD + pack("press-7", 1, 1, temperature(1)))
    assert (await answered(sender))[1] == 0x44
    sender.close()


def closed_port() -> Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", gone.getsockname()[1])


async def ask(
    staffed: Staffed, context: SecurityContext, payload: bytes, echo: bytes = b""
) -> tuple[int, bytes, bytes | None]:
    """(code outside, plaintext inside, Echo that is asked for) of a protected pack's answer; plaintext empty: unprotected."""
    value, ciphertext, binding = context.protect_request(TELEMETRY + echo + b"\xff" + payload)
    sender = client(staffed)
    sender.send(message(0, 1, b"tk", [(9, value)], ciphertext))
    answer = aiocoap.Message.decode(await answered(sender))
    sender.close()
    if answer.opt.oscore is None:
        return int(answer.code), b"", None
    inner = context.unprotect_response(binding, answer.opt.oscore, answer.payload)
    return int(answer.code), inner, find_option(inner, ECHO)


async def prove(staffed: Staffed, context: SecurityContext, payload: bytes) -> None:
    """The first request after a start, and the second one with its Echo."""
    _, inner, echo = await ask(staffed, context, payload)
    assert inner[0] == 0x81
    assert echo is not None
    assert (await ask(staffed, context, payload, option(ECHO - 12, echo)))[1][0] == 0x44


async def test_keys_that_are_taken_away_or_changed_are_worth_nothing_at_once(staffed: Staffed) -> None:
    first, second = keys(1), keys(1, "ab" * 16)
    await staffed.give_keys(1, press_7=first)
    await prove(staffed, node(first), pack("press-7", 1, 0, temperature(1)))
    await staffed.give_keys(2, press_7=second)
    before = node(first)
    before.numbers.take()
    assert (await ask(staffed, before, pack("press-7", 1, 1, temperature(1))))[:2] == (0x80, b"")
    await prove(staffed, node(second), pack("press-7", 1, 1, temperature(1)))
    await staffed.give_keys(3)
    after = node(second)
    assert (await ask(staffed, after, pack("press-7", 1, 2, temperature(1))))[:2] == (0x81, b"")
    assert staffed.intake.counts.packs == 2


async def test_two_nodes_with_the_same_kid_are_not_taken_for_each_other(staffed: Staffed) -> None:
    one, other = keys(1), keys(1, "ab" * 16)
    await staffed.give_keys(1, press_7=one, oven_1=other)
    owner = staffed.keys.of_kid(b"\x01")
    assert owner is not None
    names = {"press-7": one, "oven-1": other}
    await prove(staffed, node(names.pop(owner.node)), pack(owner.node, 1, 0, temperature(1)))
    ((name, own),) = names.items()
    for claimed in (name, owner.node):
        code, inner, _ = await ask(staffed, node(own), pack(claimed, 1, 1, temperature(1)))
        assert code in {0x80, 0x81}, "not decrypted, or a number that the other one has used"
        assert inner == b""
    assert staffed.intake.counts.packs == 1


async def test_packs_opened_with_keys_of_before_count_as_lost(staffed: Staffed) -> None:
    await staffed.give_keys(1, press_7=keys(1))
    context = staffed.keys.of_kid(b"\x01")
    assert context is not None
    context.window.restart(0)
    sent: list[frames.Message] = []
    desk = Desk(staffed.office, lambda: None, lambda: None)
    desk.frames.send = sent.append  # type: ignore[assignment]  # no process is needed to see what it would be told
    item = (
        Packer().pack_up(Pack("press-7", 1, 0, [Reading("temperature/0", 1, 2.0)])),
        "127.0.0.1",
        5,
        b"\x01",
        b"\x05",
    )
    desk._packs(1, 1, staffed.keys.version - 1, [item])
    assert sent == [(frames.ANSWERS, 1, [frames.LOST])]
    desk._packs(2, 1, staffed.keys.version, [item])
    await until(lambda: len(sent) == 2, "the commit")
    assert sent[1] == (frames.ANSWERS, 2, None)
    desk._packs(3, 1, staffed.keys.version, [item])
    assert sent[2] == (frames.ANSWERS, 3, [frames.REPLAYED])


async def test_a_worker_that_hangs_is_replaced(staffed: Staffed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "LOOK_S", 0.7)
    monkeypatch.setattr(team, "SILENT_LOOKS", 5)
    workers = workers_of(os.getpid())
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGSTOP)
    await until(lambda: staffed.team.restarts, "its end")
    await until(lambda: staffed.team.complete, "another one")
    sender = client(staffed)
    for seq in range(4):
        sender.send(b"\x42\x02" + seq.to_bytes(2, "big") + b"tk" + HEAD + pack("press-7", 1, seq, temperature(seq)))
        assert (await answered(sender))[1] == 0x44
    sender.close()


VALUES = st.one_of(st.floats(allow_nan=False), st.integers(-(2**63), 2**63), st.booleans(), st.text(max_size=5))
READINGS = st.builds(Reading, st.text(max_size=20), st.integers(-(2**50), 2**50), VALUES)
PACKS = st.builds(
    Pack, st.text(max_size=63), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.lists(READINGS, max_size=8),
    st.dictionaries(st.text(max_size=5), st.integers(1, 64)).map(Counter),
    st.none() | st.lists(st.integers(0, 63)).map(tuple),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(PACKS, max_size=3), st.data())
def test_packs_cross_whole_whatever_the_stream_cuts(packs: list[Pack], data: st.DataObject) -> None:
    for each in packs:
        if bool(each.rejected) and data.draw(st.booleans()):
            each.future_ms = data.draw(st.integers(0, 2**50))
    written = bytearray()
    arrived: list[Any] = []

    class Stream(asyncio.Transport):
        def write(self, chunk: Any) -> None:
            written.extend(chunk)

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

    here = frames.Frames(arrived.append, lambda _: None, lambda: None)
    here.connection_made(Stream())
    there = frames.Frames(arrived.append, lambda _: None, lambda: None)
    packer, unpacker = Packer(), Unpacker()
    for each in packs:
        here.send((frames.PACKS, packer.pack_up(each)))
    while written:
        size = data.draw(st.integers(1, len(written)))
        there.data_received(bytes(written[:size]))
        del written[:size]
    crossed = [unpacker.unpack(packed) for _, packed in arrived]
    assert crossed == packs
    assert [each.counted for each in crossed] == [each.counted for each in packs]
    assert [each.future_ms for each in crossed] == [each.future_ms for each in packs]
    assert all(type(reading) is Reading for each in crossed for reading in each.readings)


def test_message_ids_are_ordered_before_they_run_out() -> None:
    orders: list[float] = []
    ids = MessageIds(lambda: orders.append(time.monotonic()))
    ids.add(range(FEW_IDS + 2))
    assert [ids.take() for _ in range(4)] == [0, 1, 2, 3]
    assert len(orders) == 1
    ids.add(range(5000, 5000 + FEW_IDS))
    assert [ids.take() for _ in range(FEW_IDS - 2)] == list(range(4, FEW_IDS + 2))
    assert ids.take() == 5000
