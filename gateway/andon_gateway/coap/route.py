"""Between which two addresses datagrams go: the sender's, and ours that it has sent to."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from andon_gateway.nodes.table import Address

Ancillary = list[tuple[int, int, bytes]]
"""What recvmsg gave beside a datagram: the address that it was sent to."""
SocketAddress = tuple[str, int, int, int]
_ADDRESS_BYTES: Final = 16  # at the begin of struct in6_pktinfo (RFC 3542 6.1)


class Route:
    """Both ends of a datagram's way. All that is known of a sender hangs here, so that each of its datagrams has it with one look-up.

    Attributes:
        ancillary: As from recvmsg; an answer sent with it leaves from where the request came to.
        address: The sender's.
        direct: The datagrams go to one address of ours, and not to a group, whose requests are answered by other rules (RFC 7252 8).
        ends: Both ends as the kernel has them in memory; empty: not made yet (batches.py).
        base: The sender's number, above the 16 bits of a message id; 0: not given yet (fast_path.py).
        source: The sender as the node table has it, once it has a number.
    """

    __slots__ = ("address", "ancillary", "base", "direct", "ends", "source")

    def __init__(self, ancillary: Ancillary, address: SocketAddress) -> None:
        self.ancillary = ancillary
        self.address = address
        self.direct = len(ancillary) == 1 and _is_one_host(ancillary[0][2])
        self.ends = b""
        self.base = 0
        self.source: Address | None = None


@lru_cache(maxsize=1024)
def _is_one_host(packet_info: bytes) -> bool:
    if len(packet_info) < _ADDRESS_BYTES:
        return False  # of a form that aiocoap may know
    address = ipaddress.IPv6Address(packet_info[:_ADDRESS_BYTES])
    return not (address.ipv4_mapped or address).is_multicast
