"""Two worker processes on one port: what is owned once stays so, whichever worker a datagram reaches, and whoever dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from gateway.gateway_process import GatewayProcess
from gateway.oscore_peer import keys
from gateway.packs import pack, temperature
from gateway.stand_in_cloud import wait_until
from gateway.test_commands import AiocoapNode, order, until
from gateway.test_fast_path import CON, FORMAT, NON, PATH_T, Exchange, message, node, option
from gateway.udp_node import UdpNode

from andon_gateway.security.oscore import ECHO, OscoreError, SecurityContext, find_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.stand_in_cloud import StandInCloud

pytestmark = pytest.mark.timeout(300)  # several processes are started, on a machine that may be busy
PORTS = 16
"""Sockets of a sender; that the kernel gives all of them to one of two workers happens once in 32,768 times."""
CHANGED, UNAUTHORIZED, TOO_MANY = 0x44, 0x81, 0x9D
PATIENCE_S = 60.0
TELEMETRY = b"\x02\xb1t\x11\x70\xff"


def started(
    folder: Path, cloud: StandInCloud, extra: str = "[nodes]\npacks_per_s = 0\n", **more: Any
) -> GatewayProcess:
    process = GatewayProcess(folder, cloud.url, extra, workers=2, **more).start()
    wait_until(lambda: process.metric("workers_ready") == 2, "both workers")
    return process


@pytest.fixture
def gateway(tmp_path: Path, cloud: StandInCloud) -> Iterator[GatewayProcess]:
    process = started(tmp_path, cloud)
    yield process
    process.kill()


def workers_of(gateway: int) -> list[int]:
    """Process ids of a gateway's workers."""
    children = Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split()
    return [int(pid) for pid in children if "andon_gateway.workers" in Path(f"/proc/{pid}/cmdline").read_text()]


def ask(gateway: GatewayProcess, datagram: bytes) -> bytes:
    """The answer to a datagram from a port of its own; an empty acknowledgement only says that the disk is slow."""
    side = Exchange(gateway.coap_port)
    side.send(datagram)
    while (answer := side.read(PATIENCE_S)) is not None and not answer[1]:
        pass
    side.close()
    assert answer is not None
    return answer


def alive(pid: int) -> bool:
    """Whether a process runs; one that is only waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Sender:
    """A node that sends one pack after the other, each until it is acknowledged, with the keys that it may have."""

    def __init__(self, name: str, port: int, context: SecurityContext | None = None) -> None:
        self.name = name
        self.acknowledged = 0
        self.errors: list[str] = []
        self._context = context
        self._mids = itertools.count(1)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))

    def run(self, enough: Callable[[], bool], given_up: Callable[[], bool] = lambda: False) -> None:
        while not enough() and self.deliver(pack(self.name, 1, self.acknowledged, temperature(20.0)), given_up):
            self.acknowledged += 1
        self._socket.close()

    def deliver(self, payload: bytes, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Send until it is acknowledged; False where the test has stopped the gateway meanwhile."""
        echo = b""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            code, echo = self._once(payload, echo)
            if code == CHANGED:
                return True
            if given_up():
                return False
            if code is not None and code != UNAUTHORIZED:
                self.errors.append(f"{self.name}: answered {code:#x}")
        self.errors.append(f"{self.name}: no answer")
        return False

    def _once(self, payload: bytes, echo: bytes) -> tuple[int | None, bytes]:
        """One request, repeated twice: the code inside, and the Echo that it asks for."""
        mid = next(self._mids) & 0xFFFF
        token = mid.to_bytes(2, "big")
        binding = None
        if self._context is None:
            datagram = message(CON, mid, token, [PATH_T, FORMAT], payload)
        else:
            plain = TELEMETRY[:-1] + echo + TELEMETRY[-1:] + payload
            value, ciphertext, binding = self._context.protect_request(plain)
            datagram = message(CON, mid, token, [(9, value)], ciphertext)
        for _ in range(3):
            self._send(datagram)
            answer = self._answer(token)
            if answer is None:
                continue
            if self._context is None or binding is None:
                return answer[1], b""
            outer = aiocoap.Message.decode(answer)
            if outer.opt.oscore is None:
                return None, b""  # whoever answers so has proven nothing: as if nothing had come
            try:
                inner = self._context.unprotect_response(binding, outer.opt.oscore, outer.payload)
            except OscoreError as error:
                self.errors.append(f"{self.name}: {error}")
                return None, b""
            asked = find_option(inner, ECHO)
            return inner[0], b"" if asked is None else option(ECHO - 12, asked)
        return None, b""

    def _send(self, datagram: bytes) -> None:
        with contextlib.suppress(ConnectionRefusedError):  # of the one before; this one is repeated like a lost one
            self._socket.send(datagram)

    def _answer(self, token: bytes) -> bytes | None:
        deadline = time.monotonic() + 1.0
        while (left_s := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                answer = self._socket.recv(2048)
            except (TimeoutError, ConnectionRefusedError):
                continue
            if answer[0] >> 4 & 3 == CON:
                self._send(b"\x60\x00" + answer[2:4])
            if answer[1] and answer[4 : 4 + (answer[0] & 15)] == token:
                return answer
        return None


def test_a_pack_repeated_from_other_ports_is_counted_once(gateway: GatewayProcess) -> None:
    for number in range(PORTS):
        kind = (CON, NON)[number % 2]
        answer = ask(gateway, message(kind, number, b"t", [PATH_T, FORMAT], pack("press-7", 1, 5, temperature(1.0))))
        assert answer[1] == CHANGED
        assert kind == CON or answer[0] >> 4 & 3 == NON
    assert gateway.metric("packs_total") == 1
    assert gateway.metric("duplicate_packs_total") == PORTS - 1


def test_a_recorded_protected_datagram_is_refused_from_every_port(tmp_path: Path, cloud: StandInCloud) -> None:
    press = keys(1)
    cloud.give_keys(press_7=press)
    gateway = started(tmp_path, cloud, unprotected=None)
    try:
        wait_until(lambda: gateway.metric("nodes_with_keys") == 1, "the keys")
        context = node(press)
        Sender("press-7", gateway.coap_port, context).deliver(pack("press-7", 1, 0, temperature(1.0)))
        for seq, payload in ((1, pack("press-7", 1, 1, temperature(2.0))), (2, b"no pack at all")):
            value, ciphertext, binding = context.protect_request(TELEMETRY + payload)
            recorded = message(CON, seq, b"t", [(9, value)], ciphertext)
            first, *others = [aiocoap.Message.decode(ask(gateway, recorded)) for _ in range(PORTS)]
            inner = context.unprotect_response(binding, first.opt.oscore, first.payload)
            assert inner[0] == (CHANGED if seq == 1 else aiocoap.BAD_REQUEST)
            for other in others:
                assert (other.code, other.opt.oscore, other.payload) == (UNAUTHORIZED, None, b"Replay detected")
        for piv, code, text in (
            (value, UNAUTHORIZED, b"Replay detected"),
            (b"\x0a\x77\x77\x01", 0x80, b"Decryption failed"),
        ):
            unreadable = aiocoap.Message.decode(
                ask(gateway, message(CON, 9, b"t", [(9, piv)], b"nothing that anybody sealed"))
            )
            assert (unreadable.code, unreadable.payload) == (code, text)
        value, ciphertext, _ = context.protect_request(b"\x02\xff")  # authentic, and no CoAP inside
        malformed = aiocoap.Message.decode(ask(gateway, message(CON, 10, b"t", [(9, value)], ciphertext)))
        assert (malformed.code, malformed.opt.oscore) == (aiocoap.BAD_OPTION, None)
        assert gateway.metric("packs_total") == 2
        assert gateway.metric("duplicate_packs_total") == 0
        replays = f'oscore_refused_total{{reason="ReplayError"}} {2 * (PORTS - 1) + 1}.0'
        wait_until(lambda: replays in gateway.get("/metrics"), "what the workers have refused themselves")
        assert 'andon_gateway_refused_packs_total{reason="malformed"} 1.0' in gateway.get("/metrics")
    finally:
        gateway.kill()


def test_a_nodes_rate_holds_over_all_workers(tmp_path: Path, cloud: StandInCloud) -> None:
    gateway = started(tmp_path, cloud, "[nodes]\npacks_per_s = 0.01\nburst = 5\n")
    try:
        codes = [
            ask(gateway, message(CON, seq, b"t", [PATH_T, FORMAT], pack("press-7", 1, seq, temperature(1.0))))[1]
            for seq in range(PORTS)
        ]
        assert codes == [CHANGED] * 5 + [TOO_MANY] * (PORTS - 5)
    finally:
        gateway.kill()


async def acknowledged(cloud: StandInCloud, name: str) -> None:
    await until(lambda: "acknowledged" in cloud.reported(f"c-{name}"), f"the command of {name}")


async def test_commands_reach_nodes_and_their_answers_come_back(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    """A node's answer comes to whichever worker its port belongs to; so several nodes."""
    nodes = [await AiocoapNode(f"press-{number}").start() for number in range(6)]
    try:
        for each in nodes:
            await each.register(gateway)
        for each in nodes:
            cloud.command(**order(f"c-{each.name}", node=each.name))
        for each in nodes:
            await acknowledged(cloud, each.name)
            assert each.relay.sources == {gateway.coap_port}
            assert len(each.relay.commands) == 1
    finally:
        for each in nodes:
            await each.stop()


def test_kill_9_of_workers_loses_nothing_and_counts_nothing_twice(tmp_path: Path, cloud: StandInCloud) -> None:
    own = {f"press-{number}": keys(number) for number in range(1, 5)}
    cloud.give_keys(**{name.replace("-", "_"): value for name, value in own.items()})
    gateway = started(tmp_path, cloud)
    done = threading.Event()
    senders = [Sender(name, gateway.coap_port, node(value)) for name, value in own.items()]
    senders += [Sender(f"saw-{number}", gateway.coap_port) for number in range(8)]
    threads = [threading.Thread(target=sender.run, args=(done.is_set,), daemon=True) for sender in senders]
    try:
        wait_until(lambda: gateway.metric("nodes_with_keys") == len(own), "the keys")
        for thread in threads:
            thread.start()
        for kill in range(4):
            before = [sender.acknowledged for sender in senders]
            wait_until(
                lambda before=before: all(s.acknowledged > b + 5 for s, b in zip(senders, before, strict=True)),  # type: ignore[misc]  # a default argument
                "packs of every node",
            )
            victim = workers_of(gateway.pid)[kill % 2]
            os.kill(victim, signal.SIGKILL)
            wait_until(
                lambda kill=kill: (
                    gateway.metric("worker_restarts_total") == kill + 1  # type: ignore[misc]  # a default argument
                    and gateway.metric("workers_ready") == 2
                ),
                "a new worker",
            )
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert [error for sender in senders for error in sender.errors] == []
        assert gateway.metric("packs_total") == sum(sender.acknowledged for sender in senders)
        assert gateway.metric("oscore_challenges_total") == len(own), "a worker's death takes no replay window along"
        assert "Traceback" not in gateway.log.read_text()
        health = json.loads(gateway.get("/healthz"))
        assert health["workers"] is True
    finally:
        done.set()
        gateway.kill()


def test_workers_die_with_a_killed_gateway_and_the_next_takes_the_port(gateway: GatewayProcess) -> None:
    with UdpNode(gateway.coap_port) as one:
        assert one.post(pack("press-7", 1, 0, temperature(1.0)), PATIENCE_S) == (2, 4)
        old = workers_of(gateway.pid)
        os.kill(old[0], signal.SIGSTOP)  # one that hangs must not keep the port either
        gateway.kill()
        gateway.start()
        wait_until(lambda: not any(map(alive, old)), "the end of the old workers")
        for seq in range(3):
            assert one.post(pack("press-7", 1, seq, temperature(1.0)), PATIENCE_S) == (2, 4)
    assert gateway.metric("packs_total") == 2
    assert gateway.metric("duplicate_packs_total") == 1


def test_sigterm_to_all_processes_drains(gateway: GatewayProcess) -> None:
    """systemd sends it to every process of the service."""
    workers = workers_of(gateway.pid)
    sender = Sender("press-7", gateway.coap_port)
    done = threading.Event()
    thread = threading.Thread(target=sender.run, args=(done.is_set, done.is_set), daemon=True)
    thread.start()
    wait_until(lambda: sender.acknowledged > 10, "some packs")
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    before = sender.acknowledged
    wait_until(lambda: sender.acknowledged > before + 10, "packs: workers leave it to the gateway when they end")
    assert gateway.terminate() == 0
    assert not any(map(alive, workers))
    done.set()
    thread.join(PATIENCE_S)
    assert "started again" not in gateway.log.read_text()
    assert "Traceback" not in gateway.log.read_text()


def test_a_second_gateway_on_the_port_is_refused(gateway: GatewayProcess, tmp_path: Path, cloud: StandInCloud) -> None:
    other = GatewayProcess(tmp_path / "other", cloud.url, workers=2)
    other.config.parent.mkdir()
    other.coap_port = gateway.coap_port
    with pytest.raises(AssertionError, match="cannot listen"):
        other.start()
    other.kill()
