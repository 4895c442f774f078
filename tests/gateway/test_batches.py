"""Many datagrams with one call: the same as Python's own calls give and send, one by one."""

from __future__ import annotations

import asyncio
import ctypes
import select
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.coap.batches import AT_ONCE, DATAGRAM_BYTES, ManyAtOnce, OneByOne, datagrams_of
from andon_gateway.coap.datagrams import CoapSocket
from andon_gateway.coap.route import Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from andon_gateway.coap.batches import Datagram, Datagrams, Outgoing

PATIENCE_MS = 20_000
IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
SENDERS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")]


@pytest.fixture(scope="module")
def server() -> Iterator[socket.socket]:
    """A socket as aiocoap configures it."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        link.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        link.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        link.bind(("::", 0))
        link.setblocking(False)
        yield link


@pytest.fixture(scope="module")
def clients(server: socket.socket) -> Iterator[list[socket.socket]]:
    links = []
    for family, host in SENDERS:
        link = socket.socket(family, socket.SOCK_DGRAM)
        link.connect((host, server.getsockname()[1]))
        link.settimeout(PATIENCE_MS / 1000)
        links.append(link)
    yield links
    for link in links:
        link.close()


def wait_for(server: socket.socket) -> None:
    poll = select.poll()
    poll.register(server, select.POLLIN)
    assert poll.poll(PATIENCE_MS), "nothing comes"


Plain = tuple[bytes, Any, int, Any]
"""As from recvmsg."""


def plain(datagrams: list[Datagram]) -> list[Plain]:
    return [(data, route.ancillary, flags, route.address) for data, route, flags in datagrams]


def received(way: Datagrams, server: socket.socket, count: int) -> list[Datagram]:
    found: list[Datagram] = []
    while len(found) < count:
        wait_for(server)
        batch = way.receive()
        assert len(batch) <= AT_ONCE
        found += batch
    assert way.receive() == []
    return found


def datagrams(most: int, *longer: int) -> st.SearchStrategy[list[tuple[int, bytes, int]]]:
    """(sender, first bytes, how many more)."""
    one = st.tuples(st.integers(0, len(SENDERS) - 1), st.binary(max_size=40), st.sampled_from(longer))
    return st.lists(one, max_size=most)


@settings(max_examples=60, deadline=None)
@given(
    sent=datagrams(2 * AT_ONCE + 3, 0, 1, 300, 480) | datagrams(12, 0, 511, 512, 513, 4000, 4096, 5000)
)  # the kernel has room for them
def test_what_comes_in_is_as_from_recvmsg(
    server: socket.socket, clients: list[socket.socket], sent: list[tuple[int, bytes, int]]
) -> None:
    """One instance for all examples, so that what is left of earlier datagrams would show."""
    results = []
    for way in (WAYS.setdefault(server.fileno(), ManyAtOnce(server)), OneByOne(server)):
        for sender, data, longer in sent:
            clients[sender].send(data + b"." * longer)
        results.append(plain(received(way, server, len(sent))))
    assert results[0] == results[1]
    assert all(len(data) <= DATAGRAM_BYTES for data, *_ in results[0])


WAYS: dict[int, ManyAtOnce] = {}


def test_a_datagram_without_ancillary_data_leaves_room_for_that_of_the_next(
    server: socket.socket, clients: list[socket.socket]
) -> None:
    results: list[list[Plain]] = []
    for way in (ManyAtOnce(server), OneByOne(server)):
        results.append([])
        for told in (1, 0, 1):
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, told)
            clients[1].send(b"%d" % told)
            results[-1] += plain(received(way, server, 1))
    assert results[0] == results[1]
    assert [len(ancillary) for _, ancillary, _, _ in results[0]] == [1, 0, 1]


@pytest.mark.parametrize("kind", [ManyAtOnce, OneByOne])
def test_answers_go_to_who_asked_from_where_they_were_asked(
    server: socket.socket, clients: list[socket.socket], kind: type[ManyAtOnce | OneByOne]
) -> None:
    way = kind(server)
    count = AT_ONCE + 7
    for number in range(count):
        clients[number % 3].send(b"%d" % number)
    asked = received(way, server, count)
    answers: list[Outgoing] = [(b"to " + data, route) for data, route, _ in asked]
    assert way.send(answers) == count
    # A connected socket takes only what comes from where it is connected to: 127.0.0.2 has to have answered as 127.0.0.2.
    assert [clients[number % 3].recv(100) for number in range(count)] == [b"to %d" % number for number in range(count)]


@pytest.mark.parametrize("kind", [ManyAtOnce, OneByOne])
def test_an_error_of_an_earlier_message_is_raised(server: socket.socket, kind: type[ManyAtOnce | OneByOne]) -> None:
    way = kind(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    server.sendto(b"anybody?", ("::ffff:127.0.0.1", port))
    poll = select.poll()
    poll.register(server, select.POLLERR)
    assert poll.poll(PATIENCE_MS), "no ICMP error"
    with pytest.raises(ConnectionRefusedError):
        way.receive()
    server.recvmsg(100, 1000, socket.MSG_ERRQUEUE)
    assert way.receive() == []


class Quiet:
    """A fast path to which nothing comes."""

    def attach(self, wire: Any) -> None:
        pass


@pytest.mark.parametrize("kind", [ManyAtOnce, OneByOne])
async def test_one_message_that_cannot_be_sent_keeps_none_back(
    server: socket.socket,
    clients: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[ManyAtOnce | OneByOne],
) -> None:
    monkeypatch.setattr("andon_gateway.coap.datagrams.datagrams_of", kind)
    inside: Any = SimpleNamespace(socket=server)
    coap = CoapSocket(inside, Quiet())  # type: ignore[arg-type]  # see Quiet
    coap.pause()
    for number in range(6):
        clients[number % 3].send(b"%d" % number)
    asked = received(OneByOne(server), server, 6)
    messages: list[Outgoing] = [(data, route) for data, route, _ in asked]
    first = messages[0][1]
    nowhere = (b"nobody", Route(first.ancillary, ("::ffff:127.0.0.1", 0, 0, 0)))  # no port: EINVAL
    long = (b"l" * 300, messages[1][1])
    bare: Outgoing = (b"bare", Route([], first.address))
    coap.send_all([nowhere, *messages[:3], nowhere, nowhere, long, bare, *messages[3:], nowhere])
    assert [clients[number % 3].recv(400) for number in range(3)] == [b"0", b"1", b"2"]
    assert (clients[1].recv(400), clients[0].recv(400)) == (b"l" * 300, b"bare")
    assert [clients[number % 3].recv(400) for number in range(3)] == [b"3", b"4", b"5"]
    coap.close()
    await asyncio.sleep(0)


def test_without_the_calls_python_s_own_are_taken(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(datagrams_of(server), ManyAtOnce), "this Linux has them"
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    assert isinstance(datagrams_of(server), OneByOne)
