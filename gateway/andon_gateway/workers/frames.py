"""Messages between the gateway and a worker: tuples on a stream, each as its length and Python's marshal.

Both ends are the same program on the same socketpair, so the format needs no stability; marshal costs a tenth of CBOR for it.
"""

from __future__ import annotations

import asyncio
import marshal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

Message = tuple[Any, ...]
"""The kind, and what belongs to it; only built-in types."""

# From a worker.
READY: Final = 0
PACKS: Final = 1  # number, arrival_ms, version of the keys, [(pack or reason, host, port, kid, piv), ...]
DATAGRAMS: Final = 2  # arrival_ms, [as from recvmsg, ...]
ERRORS: Final = 3  # [as from recvmsg, ...]
SEPARATE: Final = 4  # code, token, options and payload, ancillary, address
COUNTS: Final = 5  # datagrams by way, refused by OSCORE by reason, [(kid, host, port, messages), ...]
MORE_IDS: Final = 6
# To a worker.
ANSWERS: Final = 10  # number, None (all are taken) or [verdict, ...]
KEYS: Final = 11  # version, [(node, secret, salt, node_id, gateway_id, window usable), ...]
USABLE: Final = 12  # kid
IDS: Final = 13  # [message id, ...]
STOP: Final = 14

UNREADABLE: Final = "oscore "
"""Begins what stands in the place of a pack: the name of the error with which a protected message could not be opened."""

# Verdicts about single packs; any other is (code, diagnostic, max_age_s).
TAKEN: Final = 0
REPLAYED: Final = 1
LOST: Final = 2
"""No answer: as if it had been lost on the way. The node sends it again."""
OWN: Final = 3
"""The worker's own refusal stands."""

_LENGTH_BYTES: Final = 4
_HIGH_WATER_BYTES: Final = 1 << 20


class Frames(asyncio.Protocol):
    """One end of the stream.

    Args:
        received: Called with each message.
        flow: Called with False when the other end does not keep up, and with True when it does again.
        lost: Called at the end of the stream.
    """

    def __init__(
        self, received: Callable[[Message], None], flow: Callable[[bool], None], lost: Callable[[], None]
    ) -> None:
        self._received = received
        self._flow = flow
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def send(self, message: Message) -> None:
        """Send, or keep until the other end reads; nothing once it is gone."""
        if self._transport is not None:
            data = marshal.dumps(message)
            self._transport.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def close(self) -> None:
        """End the stream after what was sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the stream now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- asyncio's promise for a stream
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH_BYTES:
            start = at + _LENGTH_BYTES
            end = start + int.from_bytes(buffer[at:start], "big")
            if len(buffer) < end:
                break
            message = marshal.loads(buffer[start:end])  # noqa: S302 -- of our own process, on a socketpair
            at = end
            self._received(message)
        del buffer[:at]

    def pause_writing(self) -> None:
        """The other end does not keep up."""
        self._flow(False)

    def resume_writing(self) -> None:
        """It does again."""
        self._flow(True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """The other end is gone."""
        self._transport = None
        self._lost()
