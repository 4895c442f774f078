"""Many datagrams with one call of the kernel: recvmmsg(2) and sendmmsg(2), which Python's sockets do not have.

What comes in is as from `socket.recvmsg`, sender and ancillary data included. Those are the same for all datagrams of one sender, so they
are made once and remembered; `recvmsg` makes them anew for each.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from array import array
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Ancillary = list[tuple[int, int, bytes]]
"""What recvmsg gave beside the datagram: the address that it was sent to."""
SocketAddress = tuple[str, int, int, int]
Datagram = tuple[bytes, Ancillary, int, SocketAddress]
"""Data, ancillary data, flags and sender, as from recvmsg."""
Outgoing = tuple[bytes, Ancillary, SocketAddress]
"""Data, where it is to be sent from, and to."""

AT_ONCE: Final = 64
DATAGRAM_BYTES: Final = 4096
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
_ENDS: Final = struct.Struct(f"={_NAME.size}s4x{_USUAL_CONTROL}s{ANCILLARY_BYTES - _USUAL_CONTROL}x")
"""Both ends of a datagram: the peer's address, and the usual ancillary data with the room for more."""
_CONTROL_AT: Final = _NAME.size + 4


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
            return [self._link.recvmsg(DATAGRAM_BYTES, ANCILLARY_BYTES)]
        except (BlockingIOError, InterruptedError):
            return []

    def send(self, messages: Sequence[Outgoing]) -> int:
        """See `Datagrams`."""
        for count, (message, ancillary, address) in enumerate(messages):
            try:
                self._link.sendmsg((message,), ancillary, 0, address)
            except OSError:
                return count
        return len(messages)


class _Slots:
    """Memory for `AT_ONCE` datagrams of so many bytes, and the headers that tell the kernel where it is."""

    def __init__(self, size: int) -> None:
        # Slices of these are bytes, which typeshed does not know.
        self.data: Any = (ctypes.c_char * (AT_ONCE * size))()
        self.ends: Any = (ctypes.c_char * (AT_ONCE * _ENDS.size))()
        self._vectors = (_Vector * AT_ONCE)()
        headers = (_Message * AT_ONCE)()
        for place in range(AT_ONCE):
            self._vectors[place] = _Vector(ctypes.addressof(self.data) + place * size, size)
            vector = ctypes.addressof(self._vectors) + place * ctypes.sizeof(_Vector)
            ends = ctypes.addressof(self.ends) + place * _ENDS.size
            headers[place].header = _Header(ends, _NAME.size, vector, 1, ends + _CONTROL_AT, ANCILLARY_BYTES, 0)
        self.headers = memoryview(headers).cast("B")
        self.begin = ctypes.addressof(headers)
        self.lengths = _column(headers, "I", _Message.length.offset)
        self.flags = _column(headers, "i", _Message.header.offset + _Header.flags.offset)
        self.control_lengths = _column(headers, "L", _Message.header.offset + _Header.control_length.offset)
        self.sizes = _column(self._vectors, "L", _Vector.length.offset)
        self.data_view, self.ends_view = memoryview(self.data).cast("B"), memoryview(self.ends).cast("B")


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
        self._in = _Slots(DATAGRAM_BYTES)
        self._out = _Slots(_SHORT_BYTES)
        self._out.control_lengths[:] = memoryview(array("L", [_USUAL_CONTROL] * AT_ONCE))
        self._unused = bytes(self._in.headers)
        self._known: dict[tuple[bytes, bytes], tuple[Ancillary, SocketAddress]] = {}
        self._ends: dict[tuple[bytes, SocketAddress], bytes] = {}

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
        data, at = slots.data, 0
        rows = zip(
            _ENDS.iter_unpack(slots.ends_view[: count * _ENDS.size]),
            slots.lengths[:count].tolist(),
            slots.flags[:count].tolist(),
            slots.control_lengths[:count].tolist(),
            strict=True,
        )
        for place, (ends, length, flags, control_length) in enumerate(rows):
            if control_length == _USUAL_CONTROL:
                ancillary, address = self._known.get(ends) or self._meet(ends)
            else:
                begin = place * _ENDS.size + _CONTROL_AT
                ancillary, address = _ancillary(slots.ends[begin : begin + control_length]), _address(ends[0])
            found.append((data[at : at + length], ancillary, flags, address))
            at += DATAGRAM_BYTES
        return found

    def _meet(self, ends: tuple[bytes, bytes]) -> tuple[Ancillary, SocketAddress]:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = self._known[ends] = _ancillary(ends[1]), _address(ends[0])
        return known

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
        slots, known = self._out, self._ends
        ends: list[bytes] = []
        data: list[bytes] = []
        for message, ancillary, address in messages:
            if len(message) > _SHORT_BYTES or len(ancillary) != 1:
                break
            both = known.get((ancillary[0][2], address)) or self._both(ancillary, address)
            if both is None:
                break
            ends.append(both)
            data.append(message)
        count = len(data)
        if not count:
            return 0
        slots.ends_view[: count * _ENDS.size] = b"".join(ends)
        struct.pack_into(f"{_SHORT_BYTES}s" * count, slots.data, 0, *data)
        slots.sizes[:count] = memoryview(array("L", map(len, data)))
        sent = self._send_many(self._link.fileno(), slots.begin, count, _DO_NOT_WAIT)
        return max(sent, 0)

    def _both(self, ancillary: Ancillary, address: SocketAddress) -> bytes | None:
        """The memory of both ends; None: of a form that is unusual."""
        level, kind, value = ancillary[0]
        if (level, kind, len(value)) != (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO_BYTES):
            return None
        if len(self._ends) >= _MOST_KNOWN:
            self._ends.clear()
        host, port, flow, scope = address
        try:
            packed = socket.inet_pton(socket.AF_INET6, host)
        except OSError:  # with the name of a zone
            return None
        name = _NAME.pack(socket.AF_INET6, socket.htons(port), socket.htonl(flow), packed, scope)
        control = _CONTROL_HEAD.pack(_CONTROL_DATA + len(value), level, kind).ljust(_CONTROL_DATA, b"\0") + value
        both = self._ends[value, address] = _ENDS.pack(name, control)
        return both


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
