"""The node's CoAP endpoint on real UDP sockets, against loss, strangers and malformed datagrams."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from firmware.endpoint_vm import EndpointVm, message
from firmware.micropython_vm import run_vm
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import Iterator

CON, NON, ACK, RST = aiocoap.CON, aiocoap.NON, aiocoap.ACK, aiocoap.RST


@pytest.fixture
def vm() -> Iterator[EndpointVm]:
    endpoint = EndpointVm()
    yield endpoint
    endpoint.close()


def test_request_is_repeated_with_growing_pauses_until_answered(vm: EndpointVm) -> None:
    vm.let_it_ask()
    first = vm.peer.receive_bytes()
    times = [time.monotonic()]
    for _ in range(3):
        assert vm.peer.receive_bytes() == first
        times.append(time.monotonic())
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    # RFC 7252 4.2: the first between ACK_TIMEOUT and 1.5 times that, then doubled. Time to schedule is allowed for.
    assert 0.08 < pauses[0] < 0.5
    assert 1.4 * pauses[0] < pauses[1] < 3 * pauses[0]
    assert 1.4 * pauses[1] < pauses[2] < 3 * pauses[1]
    request = aiocoap.Message.decode(first)
    vm.send(message(ACK, aiocoap.CONTENT, request.mid, request.token, b"late"), vm.peer)
    assert vm.result() == "2.05 late"


def test_gives_up_after_the_last_repeat_and_starts_anew_with_another_id(vm: EndpointVm) -> None:
    vm.let_it_ask(retransmit=1)
    requests = [vm.peer.receive(), vm.peer.receive()]
    assert "RequestTimeoutError" in vm.result()
    assert vm.peer.is_silent()
    vm.let_it_ask()
    again = vm.peer.receive()
    assert again.mid != requests[0].mid
    assert again.token != requests[0].token


def test_separate_response_is_taken_and_acknowledged_each_time_it_comes(vm: EndpointVm) -> None:
    vm.let_it_ask()
    request = vm.peer.receive()
    vm.send(message(ACK, aiocoap.EMPTY, request.mid), vm.peer)
    # Acknowledged: no more repeats, however long the answer takes.
    assert vm.peer.is_silent(0.4)
    separate = message(CON, aiocoap.CONTENT, 4711, request.token, b"separate")
    for _ in range(2):
        vm.send(separate, vm.peer)
        acknowledgement = vm.peer.receive()
        assert (acknowledgement.mtype, acknowledgement.code, acknowledgement.mid) == (ACK, aiocoap.EMPTY, 4711)
    assert vm.result() == "2.05 separate"


def test_separate_response_whose_acknowledgement_was_lost(vm: EndpointVm) -> None:
    vm.let_it_ask()
    request = vm.peer.receive()
    vm.send(message(NON, aiocoap.CHANGED, 4712, request.token), vm.peer)
    assert vm.result().startswith("2.04")


def test_acknowledged_but_never_answered(vm: EndpointVm) -> None:
    vm.let_it_ask()
    vm.send(message(ACK, aiocoap.EMPTY, vm.peer.receive().mid), vm.peer)
    assert "no response came" in vm.result()


def test_reset_ends_the_request(vm: EndpointVm) -> None:
    vm.let_it_ask()
    vm.send(message(RST, aiocoap.EMPTY, vm.peer.receive().mid), vm.peer)
    assert "RequestResetError" in vm.result()


def test_only_the_peer_with_the_right_token_and_code_is_believed(vm: EndpointVm) -> None:
    vm.let_it_ask()
    request = vm.peer.receive()
    lies = [
        (message(ACK, aiocoap.CONTENT, request.mid, request.token, b"lie"), vm.stranger),
        (message(CON, aiocoap.CONTENT, 1, request.token, b"lie"), vm.stranger),
        (message(RST, aiocoap.EMPTY, request.mid), vm.stranger),
        (message(ACK, aiocoap.EMPTY, request.mid), vm.stranger),
        (message(ACK, aiocoap.CONTENT, request.mid, b"other", b"lie"), vm.peer),
        (message(ACK, aiocoap.CONTENT, request.mid ^ 1, request.token, b"lie"), vm.peer),
        (message(ACK, aiocoap.GET, request.mid, request.token, b"lie"), vm.peer),
        (message(ACK, aiocoap.Code(0b11100001), request.mid, request.token, b"lie"), vm.peer),
        (message(RST, aiocoap.EMPTY, request.mid ^ 1), vm.peer),
    ]
    for data, liar in lies:
        vm.send(data, liar)
    assert vm.get("result").payload == b"waiting"
    # Strangers get no answer that would tell them anything.
    assert vm.stranger.is_silent()
    vm.send(message(ACK, aiocoap.CONTENT, request.mid, request.token, b"truth"), vm.peer)
    assert vm.result() == "2.05 truth"


def test_response_with_an_unknown_critical_option_is_rejected(vm: EndpointVm) -> None:
    vm.let_it_ask()
    request = vm.peer.receive()
    # Option 2051 is odd: critical.
    raw = bytes([0x60 | len(request.token), 0x45]) + request.mid.to_bytes(2, "big") + request.token
    vm.send(raw + bytes([0xE0]) + (2051 - 269).to_bytes(2, "big"), vm.peer)
    assert "RequestResetError" in vm.result()


def test_repeated_request_runs_once_and_gets_the_same_answer(vm: EndpointVm) -> None:
    request = message(CON, aiocoap.GET, 77, b"a", b"", ("count",))
    answers = []
    for _ in range(3):
        vm.send(request)
        answers.append(vm.client.receive_bytes())
    assert len(set(answers)) == 1
    # The same id of another client is another request.
    vm.send(request, vm.stranger)
    assert vm.stranger.receive().payload != aiocoap.Message.decode(answers[0]).payload
    # A repeat of a non-confirmable request is dropped in silence.
    non = message(NON, aiocoap.GET, 78, b"b", b"", ("count",))
    vm.send(non)
    assert vm.client.receive().mtype == NON
    vm.send(non)
    assert vm.client.is_silent()


def test_ping_reserved_class_and_unknown_critical_option(vm: EndpointVm) -> None:
    vm.send(bytes([0x40, 0, 0, 9]))
    assert vm.client.receive_bytes() == bytes([0x70, 0, 0, 9])
    vm.send(bytes([0x40, 0x21, 0, 10]))
    assert vm.client.receive_bytes() == bytes([0x70, 0, 0, 10])
    vm.send(bytes([0x40, 0x01, 0, 11, 0x10]))  # If-Match: critical and not understood
    assert vm.client.receive().code == aiocoap.BAD_OPTION
    # A response that nobody asked for, from somebody unknown.
    vm.send(message(CON, aiocoap.CONTENT, 12, b"x"))
    assert vm.client.is_silent()


def test_failing_handler_is_a_5_00(vm: EndpointVm) -> None:
    answer = vm.get("fail")
    assert answer.code == aiocoap.INTERNAL_SERVER_ERROR
    assert b"broken" in answer.payload
    assert vm.get("count").code == aiocoap.CONTENT


def test_hostile_datagrams_neither_stop_nor_slow_the_server(vm: EndpointVm) -> None:
    dice = random.Random(7)
    known = [
        b"",
        b"\x40",
        b"\x00\x00\x00\x00",
        b"\x80\x01\x00\x01",
        bytes([0x49, 1, 0, 2, *range(9)]),
        bytes([0x4F, 1, 0, 3, *range(15)]),
        bytes([0x40, 1, 0, 4, 0xFF]),
        bytes([0x40, 1, 0, 5, 0xEE, 0xFF, 0xFF, 0xFF, 0xFF]),
        bytes(1500),
    ]
    hostile = known + [dice.randbytes(dice.randrange(64)) for _ in range(500)]
    # In portions that the socket's buffer holds; after each one the server must still answer.
    for start in range(0, len(hostile), 50):
        for datagram in hostile[start : start + 50]:
            vm.send(datagram, vm.stranger)
        started = time.monotonic()
        assert vm.get("count").code == aiocoap.CONTENT
        assert time.monotonic() - started < 2
    assert vm.alive()


def test_libcoap_as_client(vm: EndpointVm) -> None:
    client = shutil.which("coap-client-notls") or shutil.which("coap-client")
    require_part("libcoap", found=client is not None, how="make deps-test")
    assert client is not None
    uri = f"coap://127.0.0.1:{vm.address[1]}/count"
    for options in ([], ["-N"]):
        result = subprocess.run(
            [client, "-B", "3", *options, uri], capture_output=True, text=True, check=False, timeout=10
        )
        assert result.stdout.strip().isdigit(), result.stderr


def test_no_start_uses_the_message_ids_of_the_starts_before() -> None:
    # RFC 7252 4.4: the gateway remembers an id for 247 s and would repeat the answer that it gave the start before.
    script = """
from andon_node.coap.endpoint import Endpoint
for boot in range(40):
    endpoint = Endpoint(None, None, None, boot)
    print(endpoint.next_mid(), *[endpoint.next_mid() for _ in range(2000)][-1:])
"""
    starts = [tuple(map(int, line.split())) for line in run_vm(script).stdout.split("\n") if line]
    used = [set(range(first, last + 1)) for first, last in starts]
    assert all(len(ids) == 2001 for ids in used), "ids count up"
    for boot, ids in enumerate(used):
        assert not ids & set().union(*used[max(0, boot - 15) : boot]), f"boot {boot}"
    assert len({first & 0x7FF for first, _ in starts}) > 10, "not to be guessed"
