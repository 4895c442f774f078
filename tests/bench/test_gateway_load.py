"""The generator's own promises: its packs are what they seem to be, it counts what was answered, it waits for what was not."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import cbor2
import pytest

from andon_gateway.senml.pack import SENML_CBOR, decode_pack
from bench.gateway.andon import wait_until
from bench.gateway.endurance import slope
from bench.gateway.fleet import names, plain_nodes
from bench.gateway.load import CoapLane, Generator, even_schedule, percentile
from bench.gateway.packs import READINGS, PackSource, mqtt_publish, pack_request, registration
from bench.gateway.processes import ServerError, ServerProcess, family, on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_MS = 1_764_000_000_000
CORE = min(os.sched_getaffinity(0))


@pytest.mark.parametrize("seq", [0, 23, 24, 255, 256, 65_535, 65_536, 1_000_000])
def test_packs_are_the_senml_that_they_claim_to_be(seq: int) -> None:
    source = PackSource("bench-12", NOW_MS, every_ms=5)
    source.seq = seq
    data = source.next()
    records = cbor2.loads(data)
    assert (records[0][-2], records[0][0], records[0][2], records[1]) == ("bench-12/", "boot", 1, {0: "seq", 2: seq})
    assert [record[0] for record in records[2:]] == [f"temperature/{n}" for n in range(6)] + ["cycles/0", "cycles/1"]
    pack = decode_pack(data, SENML_CBOR, NOW_MS)
    assert (pack.node, pack.boot, pack.seq, len(pack.readings), pack.rejected) == ("bench-12", 1, seq, READINGS, {})
    assert pack.readings[0].time_ms == NOW_MS + 5 * seq
    assert [reading.value for reading in pack.readings[:2]] == [40 + seq % 64 / 16, 41 + seq % 64 / 16]
    assert pack.readings[-1].value == seq


def test_requests_are_what_aiocoap_reads() -> None:
    message = aiocoap.Message.decode(pack_request(70_000, b"payload"))
    assert (message.code, message.mtype, message.mid) == (aiocoap.POST, aiocoap.CON, 70_000 & 0xFFFF)
    assert (message.opt.uri_path, message.opt.content_format, message.payload) == (("t",), 112, b"payload")
    message = aiocoap.Message.decode(registration(1, "bench-9999"))
    assert (message.opt.uri_path, message.opt.uri_query) == (("rd",), ("ep=bench-9999", "lt=86400"))


def test_mqtt_publications_have_their_length() -> None:
    frame = mqtt_publish(0, "bench/n", b"x" * 200)
    assert frame[:3] == b"\x32" + bytes([0x80 | (2 + 7 + 2 + 200) % 128, (2 + 7 + 2 + 200) // 128])
    assert len(frame) == 3 + 2 + 7 + 2 + 200


class _Responder(threading.Thread):
    """Answers by a rule: the request's number in, frames out."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.link.bind(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.acknowledged: list[bytes] = []

    def run(self) -> None:
        while True:
            data, peer = self.link.recvfrom(2048)
            if data == b"stop":
                return
            if data[:2] == b"\x60\x00":
                self.acknowledged.append(data[2:4])
                continue
            self.requests.append(data)
            for answer in self.answers(data, self.requests.count(data)):
                self.link.sendto(answer, peer)

    @staticmethod
    def answers(data: bytes, times: int) -> list[bytes]:
        """The first is lost once, the second answered separately and twice, the third refused, the others answered."""
        number = data[7]
        if number == 0:
            return [] if times == 1 else [b"\x64\x44" + data[2:8]]
        if number == 1:
            return [b"\x60\x00" + data[2:4], b"\x44\x44\x99\x99" + data[4:8], b"\x44\x44\x99\x99" + data[4:8]]
        return [b"\x64\x44" + data[2:4] + b"else", b"\x64" + (b"\x80" if number == 2 else b"\x44") + data[2:8]]


@pytest.fixture
def responder() -> Iterator[_Responder]:
    thread = _Responder()
    thread.start()
    yield thread
    thread.link.sendto(b"stop", thread.link.getsockname())
    thread.join(10)
    thread.link.close()


@pytest.mark.parametrize("paced", [False, True])
def test_only_the_right_answer_counts_and_what_is_lost_is_repeated(responder: _Responder, *, paced: bool) -> None:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(responder.link.getsockname())
    lane = CoapLane(link, deque(pack_request(number, b"p") for number in range(5)))
    with closing(link), closing(Generator([lane])) as generator:
        tally = generator.pace(even_schedule([lane], 1000, 0.005)) if paced else generator.saturate(60, window=4)
    assert (tally.answered, dict(tally.others)) == (4, {0x80: 1})
    assert tally.repeated >= 1
    assert len(responder.acknowledged) == 2, "a confirmable response that comes again is acknowledged again"
    assert len(set(responder.requests)) == 5
    assert len(tally.latencies_s) == (5 if paced else 0)


def test_saturation_keeps_to_its_window() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        nodes = plain_nodes(6, silent.getsockname())
        for node in nodes:
            node.prepare(1)
        counts: list[int] = []
        done = threading.Thread(target=_answer_all_but_count, args=(silent, counts), daemon=True)
        done.start()
        with closing(Generator([node.lane for node in nodes])) as generator:
            tally = generator.saturate(60, window=2)
        done.join(10)
        for node in nodes:
            node.lane.link.close()
    assert tally.answered == 6
    assert max(counts) <= 2


def _answer_all_but_count(link: socket.socket, counts: list[int]) -> None:
    """Take what is there, note how much it was, answer it."""
    link.setblocking(True)
    answered = 0
    while answered < 6:
        waiting = [link.recvfrom(2048)]
        link.settimeout(0.2)
        try:
            while True:
                waiting.append(link.recvfrom(2048))
        except TimeoutError:
            link.settimeout(None)
        counts.append(len(waiting))
        for data, peer in waiting:
            link.sendto(b"\x64\x44" + data[2:8], peer)
            answered += 1


BURN = """
import os, sys, time
child = os.fork()
while time.process_time() < 0.4:
    pass
if child:
    print("ready x=1", flush=True)
    os.wait()
"""


def test_processes_are_measured_with_their_children(tmp_path: Path) -> None:
    """Two processes burn 0.4 s each; the one that ends takes its time with it, so the parent alone would never show 0.7 s."""
    with ServerProcess("s", [sys.executable, "-c", BURN + "time.sleep(60)"], CORE, tmp_path / "log") as process:
        assert process.ready() == {"x": "1"}
        parent, child = family(process.pid)
        try:
            wait_until(lambda: process.cpu_s() > 0.7, "the CPU time of both", 60)
            assert process.rss_kb() > 4000
        finally:
            os.kill(child, signal.SIGKILL)
    assert parent == process.pid


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    with (
        ServerProcess("s", command, CORE, tmp_path / "log") as process,
        pytest.raises(ServerError, match="the port is taken"),
    ):
        process.ready()


def test_arithmetic() -> None:
    assert slope([(0, 5), (1, 7), (2, 9)]) == 2
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile([1, 2, 3], 0.99) == 3
    assert names(2, 3) == ["bench-3", "bench-4"]


def test_a_folder_in_memory_is_no_disk() -> None:
    assert not on_disk(Path("/proc"))
    assert not on_disk(Path("/dev"))
