"""UDP datagrams for asyncio.

Works on asyncio's IO queue and on the socket module as both the ESP32 and the unix port have it. Addresses are opaque:
a tuple on the ESP32, a raw sockaddr on the unix port; both compare equal when they are the same peer.
"""

import asyncio
import socket

from micropython import const

# A CoAP message of at most 1,024 bytes of payload and its header [RFC 7252 4.6: 1152].
MAX_DATAGRAM = 1152
# What is read where the heap has no piece of that size: all that the node itself asks for, whose blocks have 512 bytes.
_SMALL_DATAGRAM = const(640)
_PAUSE_MS = const(50)


def address_of(host, port):
    """Resolve a peer's address; blocks while the name server is asked.

    Raises:
        OSError: The name is unknown.
    """
    return _comparable(socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0][-1])


def _comparable(address):
    # The unix port resolves to a bytearray and receives bytes.
    return address if isinstance(address, tuple) else bytes(address)


class _Readable:
    """Awaitable: the socket has a datagram. One object for all waits, so waiting makes no garbage."""

    def __init__(self, sock):
        self._sock = sock
        self._queued = False

    def __iter__(self):
        self._queued = False
        return self

    __await__ = __iter__

    def __next__(self):
        if self._queued:
            raise StopIteration
        self._queued = True
        # Looked up late: a new event loop makes a new queue.
        asyncio.core._io_queue.queue_read(self._sock)  # type: ignore[attr-defined] # noqa: SLF001 - what asyncio's own streams are made of


class DatagramSocket:
    """A bound UDP socket; one task may receive, any may send."""

    def __init__(self, port):
        """Bind to a port on all interfaces; 0 takes any free one."""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind(socket.getaddrinfo("0.0.0.0", port)[0][-1])  # noqa: S104 - a node serves on its only interface
        self._readable = _Readable(self._sock)
        self._peer = None

    async def receive(self):
        """Wait for a datagram and return (bytes, address)."""
        while True:
            await self._readable
            try:
                data, address = self._read()
            except OSError:
                continue
            except MemoryError:
                # It waits in the socket meanwhile, and so does nobody else.
                await asyncio.sleep_ms(_PAUSE_MS)
                continue
            address = _comparable(address)
            if address != self._peer:
                self._peer = address
            # Whoever remembers many messages of one peer keeps one address.
            return data, self._peer

    def _read(self):
        # MicroPython takes memory for the longest datagram before it reads one, and gives back what was too much.
        try:
            return self._sock.recvfrom(MAX_DATAGRAM)
        except MemoryError:
            # A longer one is cut off, which is as good as lost: its sender repeats it.
            return self._sock.recvfrom(_SMALL_DATAGRAM)

    def send(self, data, address):
        """Send a datagram; one that the network refuses now is lost, as any datagram may be."""
        try:
            self._sock.sendto(data, address)
        except OSError as error:
            print("udp: not sent:", error)

    def close(self):
        """Give the port back."""
        self._sock.close()
