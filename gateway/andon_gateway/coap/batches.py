"""Many datagrams with one call of the kernel: recvmmsg(2) and sendmmsg(2), which Python's sockets do not have.

What comes in is as from `socket.recvmsg`, sender and ancillary data included. Those are the same for all datagrams of one sender, so they
are made once and remembered (route.py); `recvmsg` makes them anew for each.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from array import array
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from andon_gateway.coap.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.coap.route import Ancillary, SocketAddress

Datagram = tuple[bytes, Route, int]
"""Data, where it comes from and went to, and flags, as from recvmsg."""
Outgoing = tuple[bytes, Route]
"""Data, and on which way it goes back."""

AT_ONCE: Final = 64
DATAGRAM_BYTES: Final = 4096
_USUAL_BYTES: Final = 512
"""Datagrams up to here lie close together, where the processor's caches hold all of a batch; the rest of a longer one lies apart."""
ANCILLARY_BYTES: Final = 128
_SHORT_BYTES: Final = 64
"""Answers are no longer; another one is sent by itself."""
_MOST_KNOWN: Final = 1 << 14
_DO_NOT_WAIT: Final = int(socket.MSG_DONTWAIT)
_NOTHING: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR))
_NAME: Final = struct.Struct(
    "=HHI16sI"
)  # struct sockaddr_in6 (linux/in6.h); port and flow information in the network's order
_CONTROL_HEAD: Final = struct.Struct("@Nii")  # struct cmsghdr
_CONTROL_DATA: Final = socket.CMSG_LEN(0)
_PKTINFO_BYTES: Final = 20  # struct in6_pktinfo
_USUAL_CONTROL: Final = socket.CMSG_SPACE(_PKTINFO_BYTES)
_CONTROL_AT: Final = _NAME.size + 4
_ENDS_BYTES: Final = _CONTROL_AT + _USUAL_CONTROL
"""Both ends of a datagram: the peer's address, and the usual ancillary data."""
_WITH_ROOM: Final = struct.Struct(f"={_ENDS_BYTES}s{ANCILLARY_BYTES - _USUAL_CONTROL}x")
"""The same with room for more ancillary data."""


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Datagrams(Protocol):
    """A UDP socket of IPv6, also for IPv4, that does not block."""

    def receive(self) -> list[Datagram]:
        """The next ones that wait, at most `AT_ONCE`; none: nothing waits.

        Raises:
            OSError: Of an earlier message: the kernel reports it to whoever comes next.
        """

    def send(self, messages: Sequence[Outgoing]) -> int:
        """Send; gives how many, from the first on, the kernel has taken."""


class OneByOne:
    """With Python's own calls."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def receive(self) -> list[Datagram]:
        """See `Datagrams`."""
        try:
            data, ancillary, flags, address = self._link.recvmsg(DATAGRAM_BYTES, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        return [(data, Route(ancillary, address), flags)]

    def send(self, messages: Sequence[Outgoing]) -> int:
        """See `Datagrams`."""
        for count, (message, route) in enumerate(messages):
            try:
                self._link.sendmsg((message,), route.ancillary, 0, route.address)
            except OSError:
                return count
        return len(messages)


class _Slots:
    """Memory for `AT_ONCE` datagrams, and the headers that tell the kernel where it is.

    Args:
        usual: Bytes of each datagram that lie in `data`.
        ends: Bytes for both ends of each.
        more: Bytes beyond, which lie in `rest`.
    """

    def __init__(self, usual: int, ends: int, more: int = 0) -> None:
        # Slices of these are bytes, which typeshed does not know.
        self.data: Any = (ctypes.c_char * (AT_ONCE * usual))()
        self.rest: Any = (ctypes.c_char * (AT_ONCE * more))()
        self.ends: Any = (ctypes.c_char * (AT_ONCE * ends))()
        parts = 2 if more else 1
        self._vectors = (_Vector * (AT_ONCE * parts))()
        headers = (_Message * AT_ONCE)()
        for place in range(AT_ONCE):
            first = place * parts
            self._vectors[first] = _Vector(ctypes.addressof(self.data) + place * usual, usual)
            if more:
                self._vectors[first + 1] = _Vector(ctypes.addressof(self.rest) + place * more, more)
            vector = ctypes.addressof(self._vectors) + first * ctypes.sizeof(_Vector)
            name = ctypes.addressof(self.ends) + place * ends
            headers[place].header = _Header(name, _NAME.size, vector, parts, name + _CONTROL_AT, ends - _CONTROL_AT, 0)
        self.headers = memoryview(headers).cast("B")
        self.begin = ctypes.addressof(headers)
        self.lengths = _column(headers, "I", _Message.length.offset)
        self.flags = _column(headers, "i", _Message.header.offset + _Header.flags.offset)
        self.control_lengths = _column(headers, "L", _Message.header.offset + _Header.control_length.offset)
        self.sizes = _column(self._vectors, "L", _Vector.length.offset)
        self.ends_view = memoryview(self.ends).cast("B")


def _column(rows: Any, kind: Literal["I", "i", "L"], offset: int) -> memoryview[int]:
    """One field of all rows; `L` is size_t on Linux."""
    size = struct.calcsize(kind)
    step = ctypes.sizeof(rows) // len(rows) // size
    return memoryview(rows).cast("B").cast(kind)[offset // size :: step]


class ManyAtOnce:
    """With the kernel's calls for many.

    Args:
        link: The socket.

    Raises:
        AttributeError: The system's C library does not have them.
    """

    def __init__(self, link: socket.socket) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        library.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        library.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._receive_many: Callable[..., int] = library.recvmmsg
        self._send_many: Callable[..., int] = library.sendmmsg
        self._link = link
        self._in = _Slots(_USUAL_BYTES, _WITH_ROOM.size, DATAGRAM_BYTES - _USUAL_BYTES)
        self._out = _Slots(_SHORT_BYTES, _ENDS_BYTES)
        self._out.control_lengths[:] = memoryview(array("L", [_USUAL_CONTROL] * AT_ONCE))
        self._unused = bytes(self._in.headers)
        self._routes: dict[tuple[bytes], Route] = {}

    def receive(self) -> list[Datagram]:
        """See `Datagrams`."""
        slots = self._in
        slots.headers[:] = self._unused  # the kernel writes the lengths over the room that there is
        count = self._receive_many(self._link.fileno(), slots.begin, AT_ONCE, _DO_NOT_WAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in _NOTHING:
                return []
            raise OSError(number, os.strerror(number))
        found: list[Datagram] = []
        data, known, at = slots.data, self._routes, 0
        rows = zip(
            _WITH_ROOM.iter_unpack(slots.ends_view[: count * _WITH_ROOM.size]),
            slots.lengths[:count].tolist(),
            slots.flags[:count].tolist(),
            slots.control_lengths[:count].tolist(),
            strict=True,
        )
        for place, (ends, length, flags, control_length) in enumerate(rows):
            if control_length == _USUAL_CONTROL:
                route = known.get(ends) or self._meet(ends)
            else:
                begin = place * _WITH_ROOM.size + _CONTROL_AT
                route = Route(_ancillary(slots.ends[begin : begin + control_length]), _address(ends[0][: _NAME.size]))
            message = data[at : at + length] if length <= _USUAL_BYTES else self._long(place, length)
            found.append((message, route, flags))
            at += _USUAL_BYTES
        return found

    def _long(self, place: int, length: int) -> bytes:
        """A datagram that lies in both parts of its slot."""
        begin, rest = place * _USUAL_BYTES, place * (DATAGRAM_BYTES - _USUAL_BYTES)
        head: bytes = self._in.data[begin : begin + _USUAL_BYTES]
        tail: bytes = self._in.rest[rest : rest + length - _USUAL_BYTES]
        return head + tail

    def _meet(self, ends: tuple[bytes]) -> Route:
        if len(self._routes) >= _MOST_KNOWN:
            self._routes.clear()
        both = ends[0]
        route = self._routes[ends] = Route(_ancillary(both[_CONTROL_AT:]), _address(both[: _NAME.size]))
        route.ends = both  # an answer goes back between the same ends
        return route

    def send(self, messages: Sequence[Outgoing]) -> int:
        """See `Datagrams`."""
        sent = 0
        while sent < len(messages):
            count = self._send_some(messages[sent : sent + AT_ONCE])
            sent += count
            if not count:
                break
        return sent

    def _send_some(self, messages: Sequence[Outgoing]) -> int:
        slots = self._out
        ends: list[bytes] = []
        data: list[bytes] = []
        for message, route in messages:
            both = route.ends or _both(route)
            if len(message) > _SHORT_BYTES or not both:
                break
            ends.append(both)
            data.append(message)
        count = len(data)
        if not count:
            return 0
        slots.ends_view[: count * _ENDS_BYTES] = b"".join(ends)
        struct.pack_into(f"{_SHORT_BYTES}s" * count, slots.data, 0, *data)
        slots.sizes[:count] = memoryview(array("L", map(len, data)))
        sent = self._send_many(self._link.fileno(), slots.begin, count, _DO_NOT_WAIT)
        return max(sent, 0)


def _both(route: Route) -> bytes:
    """Both ends as the kernel wants them, noted in the route; empty: of a form that is unusual."""
    if len(route.ancillary) != 1:
        return b""
    level, kind, value = route.ancillary[0]
    if (level, kind, len(value)) != (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO_BYTES):
        return b""
    host, port, flow, scope = route.address
    try:
        packed = socket.inet_pton(socket.AF_INET6, host)
    except OSError:  # with the name of a zone
        return b""
    name = _NAME.pack(socket.AF_INET6, socket.htons(port), socket.htonl(flow), packed, scope)
    control = _CONTROL_HEAD.pack(_CONTROL_DATA + len(value), level, kind).ljust(_CONTROL_DATA, b"\0") + value
    route.ends = name.ljust(_CONTROL_AT, b"\0") + control.ljust(_USUAL_CONTROL, b"\0")
    return route.ends


def _address(name: bytes) -> SocketAddress:
    _family, port, flow, host, scope = _NAME.unpack(name)
    return socket.inet_ntop(socket.AF_INET6, host), socket.ntohs(port), socket.ntohl(flow), scope


def _ancillary(control: bytes) -> Ancillary:
    """The messages in a control buffer (cmsg(3))."""
    found: Ancillary = []
    at = 0
    while at + _CONTROL_DATA <= len(control):
        length, level, kind = _CONTROL_HEAD.unpack_from(control, at)
        if length < _CONTROL_DATA:
            break
        found.append((level, kind, control[at + _CONTROL_DATA : at + length]))
        at += socket.CMSG_SPACE(length - _CONTROL_DATA)
    return found


def datagrams_of(link: socket.socket) -> Datagrams:
    """The quickest way that the system has."""
    try:
        return ManyAtOnce(link)
    except (AttributeError, OSError):
        return OneByOne(link)
