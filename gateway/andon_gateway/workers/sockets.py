"""Several sockets of one UDP port (SO_REUSEPORT): the kernel gives each sender's datagrams to one of them."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from andon_gateway.coap.server import CoapEndpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S: Final = 3.0
"""After a kill -9 of a gateway the kernel needs a moment to end its workers, which hold the port."""
_PAUSE_S: Final = 0.02
_IPV6_RECVERR, _IP_RECVERR = 25, 11  # linux/in6.h, linux/in.h


async def open_shared(bind: str, port: int) -> CoapEndpoint:
    """Bind aiocoap's socket so that `beside` can bind others.

    A port that others may bind too could be shared with another gateway unnoticed; so it is first bound in the ordinary way.

    Raises:
        OSError: The address is in use or not ours.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        try:
            alone = await CoapEndpoint.open(bind, port)
            break
        except OSError:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(_PAUSE_S)
    port = alone.port
    await alone.close()
    return await CoapEndpoint.open(bind, port, shared=True)


def beside(first: socket.socket, workers: int) -> Sequence[socket.socket]:
    """A socket for each worker: the first, and others like it.

    Raises:
        OSError: No more can be opened.
    """
    found = [first]
    for _ in range(workers - 1):
        other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        found.append(other)
        other.setblocking(False)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        other.bind(first.getsockname())
        # As aiocoap's: to answer from the address that was asked, and so that errors are told.
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        other.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        other.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    return found
