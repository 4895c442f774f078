"""The gateway's one CoAP socket: its resources on it, the fast path before them, and requests to nodes from it."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from aiocoap import Context, Message, error  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.numbers import TransportTuning  # type: ignore[import-untyped]  # same
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped]  # same
from aiocoap.numbers.contentformat import ContentFormat  # type: ignore[import-untyped]  # same

from andon_gateway.coap.datagrams import CoapSocket, DoesNotFitError, open_inside, source_of
from andon_gateway.coap.fast_path import FastPath
from andon_gateway.coap.repairs import keep_errors_of_others_apart, keep_own_ids_apart
from andon_gateway.security.oscore_client import ask_protected

if TYPE_CHECKING:
    import socket

    from aiocoap import resource

    from andon_gateway.coap.fast_path import FastCounts
    from andon_gateway.nodes.table import Address
    from andon_gateway.security.access import AccessPolicy
    from andon_gateway.security.oscore_keys import KeyRing
    from andon_gateway.spool.intake import TelemetryIntake

log = logging.getLogger(__name__)

BLOCK_SZX: Final = 5
"""Blocks of 512 bytes, which nodes prefer (RFC 7959 2.2)."""


class CoapEndpoint:
    """The gateway's one UDP socket: server for nodes, client towards nodes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._socket: CoapSocket | None = None
        self._keys: KeyRing | None = None
        self._access: AccessPolicy | None = None
        keep_own_ids_apart(context)
        keep_errors_of_others_apart(context)

    def secure(self, keys: KeyRing, access: AccessPolicy) -> None:
        """Protect requests to nodes from now on; before, none are sent."""
        self._keys = keys
        self._access = access

    @classmethod
    async def open(cls, bind: str, port: int, *, shared: bool = False) -> CoapEndpoint:
        """Bind the socket; `serve` makes the resources available.

        Args:
            bind: Address.
            port: 0: any free one.
            shared: Whether our worker processes may bind the same port (workers/sockets.py, which looks first whether it is free).

        Raises:
            OSError: The address is in use or not ours.
        """
        # aiocoap shares its port by default, which would let two gateways steal each other's packets unnoticed.
        os.environ["AIOCOAP_REUSE_PORT"] = "1" if shared else "0"
        try:
            context = await Context.create_server_context(None, bind=(bind, port), transports=["udp6"])
        except error.ResolutionError as failure:
            raise OSError(str(failure)) from None
        return cls(context)

    def serve(self, site: resource.Site) -> None:
        """Answer requests from now on."""
        self._context.serversite = site

    def hasten(
        self, intake: TelemetryIntake, keys: KeyRing, counts: FastCounts, gather_s: float = 0.0
    ) -> CoapSocket | None:
        """Handle telemetry without aiocoap from now on; where aiocoap's inside does not fit, all stays as it is, and the log says so.

        Args:
            intake: Where packs go.
            keys: The security contexts.
            counts: To be counted in.
            gather_s: How long datagrams that come in numbers may wait for each other.

        Returns:
            What reads the socket now.
        """
        fast = FastPath(intake, keys, source_of, asyncio.get_running_loop().call_later, counts)
        try:
            self._socket = CoapSocket(open_inside(self._context), fast, gather_s)
        except DoesNotFitError as error:
            log.error("no fast path for telemetry, every pack costs several times as much: %s", error)  # noqa: TRY400 -- the message says it all
        return self._socket

    @property
    def socket(self) -> socket.socket:
        """The bound socket.

        Raises:
            DoesNotFitError: aiocoap has it elsewhere.
        """
        return open_inside(self._context).socket

    @property
    def port(self) -> int:
        """The bound UDP port."""
        transport = self._context.request_interfaces[0].token_interface.message_interface.transport
        return int(transport.get_extra_info("socket").getsockname()[1])

    async def put_json(self, node: str, address: Address, path: str, payload: bytes, patience_s: float) -> _Answer:
        """`ask_json` with PUT."""
        return await self.ask_json(node, address, "PUT", path, payload, patience_s)

    async def ask_json(
        self, node: str, address: Address, method: str, path: str, payload: bytes, patience_s: float
    ) -> _Answer:
        """One confirmable request, sent once; protected, unless the node may be spoken to without.

        Raises:
            OSError: Not acknowledged within `patience_s`, an ICMP error, no protected answer, or no keys.
        """
        request = Message(
            code=Code[method],
            payload=payload,
            uri_path=tuple(path.split("/")),
            content_format=ContentFormat.JSON if payload else None,
        )
        return await self._ask(node, address, request, (patience_s, 0))

    async def put_block(
        self, node: str, address: Address, path: str, block: tuple[int, bool, bytes], patience: tuple[float, int]
    ) -> _Answer:
        """One block of a long PUT (RFC 7959 2.5), protected like `ask_json`'s requests.

        Args:
            node: To whom.
            address: Where.
            path: Of the resource, with its query after a question mark.
            block: Its number, whether more follow, and its content: all but the last of the same power of two.
            patience: ACK_TIMEOUT in seconds, and how often the message is repeated (RFC 7252 4.2).

        Raises:
            OSError: As with `ask_json`.
        """
        number, more, content = block
        resource, _, query = path.partition("?")
        request = Message(
            code=Code.PUT,
            payload=content,
            uri_path=tuple(resource.split("/")),
            uri_query=(query,) if query else (),
            content_format=ContentFormat.JSON,
            block1=(number, more, BLOCK_SZX),
        )
        return await self._ask(node, address, request, patience)

    async def _ask(self, node: str, address: Address, request: Message, patience: tuple[float, int]) -> _Answer:
        tuning = TransportTuning()
        tuning.ACK_TIMEOUT, tuning.MAX_RETRANSMIT = patience
        # One that is sent once waits as long as the caller said; repeated ones keep RFC 7252's spread.
        tuning.ACK_RANDOM_FACTOR = 1.5 if patience[1] else 1.0
        security = None if self._keys is None else self._keys.of_node(node)
        if security is not None:
            return _Answer(await ask_protected(security, request, address.uri, tuning, self._exchange))
        if self._access is None or not self._access.open(node):
            raise OSError("the node has no keys here, and gateway.toml does not allow it to be unprotected")
        path, query = request.opt.uri_path, request.opt.uri_query
        request.set_request_uri(f"{address.uri}/", set_uri_host=False)
        request.opt.uri_path, request.opt.uri_query = path, query
        request.transport_tuning = tuning
        try:
            return _Answer(await self._exchange(request))
        except error.Error as failure:
            raise OSError(f"{type(failure).__name__} {failure}".strip()) from None

    async def _exchange(self, request: Message) -> Message:
        return await self._context.request(request, handle_blockwise=False).response

    async def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
        await self._context.shutdown()


class _Answer:
    """A response without aiocoap's types."""

    def __init__(self, response: Any) -> None:
        self.code: tuple[int, int] = (response.code >> 5, response.code & 0b11111)
        self.payload: bytes = response.payload
