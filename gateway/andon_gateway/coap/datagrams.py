"""The gateway's UDP socket: read here, telemetry to the fast path, everything else to aiocoap, which believes it has read it itself.

aiocoap opens and configures the socket and sends on it as before. Of its inside this needs what `_Inside` names; when a new version
has it elsewhere, `open_inside` says so, the gateway runs on without fast path, and a test fails.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiocoap import Message  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped]  # same
from aiocoap.transports.udp6 import UDP6EndpointAddress  # type: ignore[import-untyped]  # same

from andon_gateway.coap.batches import DATAGRAM_BYTES, datagrams_of
from andon_gateway.coap.bucket import Bucket
from andon_gateway.coap.route import Route
from andon_gateway.coap.watch import MOST_AT_ONCE, Watch
from andon_gateway.errors import GatewayError
from andon_gateway.nodes.table import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from andon_gateway.coap.batches import Datagram, Outgoing
    from andon_gateway.coap.fast_path import FastPath
    from andon_gateway.coap.route import SocketAddress

    Received = tuple[bytes, Any, int, SocketAddress]
    """Data, ancillary data, flags and sender, as from recvmsg."""

log = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES: Final = 4 << 20
TOLD_PER_S: Final = 0.1
TOLD_AT_ONCE: Final = 10.0
"""Tracebacks of our own faults: a datagram that provokes one must not fill the disk."""
_MSG_ERRQUEUE: Final = 0x2000  # linux/socket.h
_ERRORS_EVERY: Final = 64  # wake-ups after which the error queue is looked at in any case


class DoesNotFitError(GatewayError):
    """aiocoap's inside is not as the fast path knows it."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What the fast path needs of aiocoap.

    Attributes:
        socket: The bound UDP socket.
        datagram: Takes (data, ancillary, flags, address), as from recvmsg.
        error: The same for the error queue.
        send_message: Takes a response and a callback for a reset; confirmable unless told otherwise.
        next_message_id: Gives one that aiocoap will not use.
        remote: Takes (address, ancillary address), gives aiocoap's form of them.
    """

    socket: socket.socket
    datagram: Callable[[bytes, Any, int, Any], None]
    error: Callable[[bytes, Any, int, Any], None]
    send_message: Callable[[Any, Callable[[], None]], None]
    next_message_id: Callable[[], int]
    remote: Callable[[Any, bytes | None], Any]


def open_inside(context: Any) -> Inside:
    """Find what is needed in an aiocoap server context.

    Raises:
        DoesNotFitError: It is not there.
    """
    try:
        manager = context.request_interfaces[0].token_interface
        interface = manager.message_interface
        inside = Inside(
            interface.transport.get_extra_info("socket"),
            interface.datagram_msg_received,
            interface.datagram_errqueue_received,
            manager.send_message,
            manager._next_message_id,  # noqa: SLF001 -- ids of one socket come from one counter, or they collide
            lambda address, local: UDP6EndpointAddress(address, interface, pktinfo=local),
        )
        number = inside.next_message_id()
    except (AttributeError, IndexError, TypeError) as missing:
        raise DoesNotFitError(f"this version of aiocoap is built differently: {missing}") from None
    if inside.socket.family != socket.AF_INET6 or type(number) is not int:
        raise DoesNotFitError(
            "this version of aiocoap is built differently: no IPv6 socket, or no numbers as message ids"
        )
    return inside


def source_of(address: SocketAddress) -> Address:
    """The sender as an IP literal, with a zone where it is link-local, and a port."""
    host, port, _flow, scope = address
    host = host.removeprefix("::ffff:") if "." in host else host.partition("%")[0]
    return Address(f"{host}%{socket.if_indextoname(scope)}" if scope else host, port)


class CoapSocket:
    """Reads the socket in aiocoap's place.

    Args:
        inside: Of the aiocoap context whose socket it is.
        fast: Has the first look at each datagram.
        gather_s: How long datagrams that come in numbers may wait for each other.
    """

    def __init__(self, inside: Inside, fast: FastPath, gather_s: float = 0.0) -> None:
        self._inside = inside
        self._socket = inside.socket
        self._fast = fast
        self._wakeups = 0
        self._errors_wait = False
        self._told = Bucket(TOLD_PER_S, TOLD_AT_ONCE)
        # The kernel's default holds some 150 packs, less than nodes send while a group is written; it takes as much as it may.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._datagrams = datagrams_of(self._socket)
        # An event loop may stop watching a descriptor that reports an error (uvloop does); one that watches another epoll sees no errors.
        self._poll = select.epoll()
        self._poll.register(self._socket.fileno(), select.EPOLLIN)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket.fileno())
        self._watch = Watch(loop, self._poll.fileno(), self._read, gather_s)
        self._watch.start()
        fast.attach(self)

    def close(self) -> None:
        """Stop reading; the socket itself is aiocoap's to close."""
        self._watch.stop()
        self._poll.close()

    def pause(self) -> None:
        """Leave what comes in the kernel's buffer, or to another process that reads the same socket."""
        self._watch.stop()

    def resume(self) -> None:
        """Read again."""
        self._watch.stop()
        self._watch.start()

    def feed(self, datagrams: Iterable[Received], now_ms: int) -> None:
        """Handle what another process has read for us at `now_ms`, as if it had come in here."""
        self._fast.begin(now_ms)
        self._handle([(data, Route(ancillary, address), flags) for data, ancillary, flags, address in datagrams])
        self._fast.end(time.monotonic())

    def feed_errors(self, reports: Iterable[Received]) -> None:
        """The same for what another process has found in the socket's error queue."""
        for report in reports:
            self._report(*report)

    def send_all(self, messages: Sequence[Outgoing]) -> None:
        """`send` for each, in their order."""
        at = self._datagrams.send(messages)
        while at < len(messages):
            self._errors_wait = True  # one may have stopped it, and was told to nobody
            self.send(*messages[at])
            at += 1
            at += self._datagrams.send(messages[at:])

    def send(self, message: bytes, route: Route) -> None:
        """Send from the address that the request came to; what the kernel does not take is lost, and asked for again."""
        try:
            self._socket.sendmsg((message,), route.ancillary, 0, route.address)
        except BlockingIOError:
            pass
        except OSError:
            # Most likely an ICMP error of an earlier message to somebody else, which the kernel reports to whoever comes next.
            self._errors_wait = True
            try:
                self._socket.sendmsg((message,), route.ancillary, 0, route.address)
            except OSError as error:
                log.debug("no answer to %s: %s", route.address[:2], error)

    def send_separately(self, code: int, token: bytes, rest: bytes, route: Route) -> None:
        """Send a separate response through aiocoap, which repeats it until it is acknowledged."""
        message = Message(code=Code(code))
        message.payload = message.opt.decode(rest)
        message.token = token
        message.remote = self._inside.remote(route.address, route.ancillary[0][2] if route.ancillary else None)
        self._inside.send_message(message, lambda: None)

    def next_message_id(self) -> int:
        """The next of the socket's message ids."""
        return self._inside.next_message_id()

    def _read(self) -> int:
        """Handle what waits; gives the number of datagrams."""
        self._fast.begin(time.time_ns() // 1_000_000)
        received = 0
        while received < MOST_AT_ONCE:
            try:
                datagrams = self._datagrams.receive()
            except OSError:
                self._errors_wait = True
                received += 1
                continue
            if not datagrams:
                break
            received += len(datagrams)
            self._handle(datagrams)
        self._fast.end(time.monotonic())
        self._wakeups += 1
        if self._errors_wait or not received or self._wakeups % _ERRORS_EVERY == 0:
            self._read_errors()
        return received

    def _handle(self, datagrams: Iterable[Datagram]) -> None:
        """Each to the fast path or to aiocoap; one that the fast path fails on is dropped, and the next one is served."""
        take = self._fast.take
        for data, route, flags in datagrams:
            try:
                taken = route.direct and take(data, route)
            except Exception:
                taken = True
                if self._told.take():
                    log.exception("a datagram of %s:%d failed unexpectedly", *route.address[:2])
            if not taken:
                self._leave(data, route.ancillary, flags, route.address)

    def _leave(self, data: bytes, ancillary: Any, flags: int, address: SocketAddress) -> None:
        """Give a datagram to aiocoap, which raises on some that are no CoAP."""
        try:
            self._inside.datagram(data, ancillary, flags, address)
        except Exception as error:  # noqa: BLE001 -- whatever a datagram does, the next one is served
            self._fast.counts.malformed += 1
            log.debug("a datagram of %s cannot be handled: %r", address[:2], error)

    def _read_errors(self) -> None:
        """Give aiocoap the ICMP errors that wait: its own requests to a node that is off fail at once with them."""
        self._errors_wait = False
        for _ in range(MOST_AT_ONCE):
            try:
                data, ancillary, flags, address = self._socket.recvmsg(DATAGRAM_BYTES, 1024, _MSG_ERRQUEUE)
            except OSError:
                return
            self._report(data, ancillary, flags, address)

    def _report(self, data: bytes, ancillary: Any, flags: int, address: SocketAddress) -> None:
        try:
            self._inside.error(data, ancillary, flags, address)
        except Exception as error:  # noqa: BLE001 -- a report about a lost message is not worth more than a line
            log.debug("an ICMP error about %s cannot be handled: %r", address[:2], error)
