"""OSCORE between aiocoap and our resources: protected requests are opened here, their responses protected."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiocoap import CON, Message, error, interfaces  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped]  # same

from andon_gateway.coap.bucket import Bucket
from andon_gateway.errors import StorageUnavailable
from andon_gateway.nodes.table import Address
from andon_gateway.security.oscore import (
    EchoRequired,
    OscoreError,
    SecurityContext,
    UnknownContextError,
    decode_option,
)

if TYPE_CHECKING:
    from andon_gateway.security.oscore_keys import KeyRing

log = logging.getLogger(__name__)

CHALLENGES_PER_S: Final = 1.0
"""Echo challenges per node: replays of recorded messages must not make us send as fast as somebody likes."""
CHALLENGE_BURST: Final = 10.0
FIRST_NON_REQUEST: Final = 32


@dataclass(frozen=True, slots=True)
class AuthenticatedRemote(interfaces.EndpointAddress):  # type: ignore[misc]  # untyped base
    """The sender of a protected request: its address, and the node whose keys it has."""

    address: Any
    node: str

    hostinfo = property(lambda self: self.address.hostinfo)
    hostinfo_local = property(lambda self: self.address.hostinfo_local)
    uri_base = property(lambda self: self.address.uri_base)
    uri_base_local = property(lambda self: self.address.uri_base_local)
    scheme = property(lambda self: self.address.scheme)
    sockaddr = property(lambda self: self.address.sockaddr)
    netif = property(lambda self: self.address.netif)
    maximum_payload_size = property(lambda self: self.address.maximum_payload_size)
    maximum_block_size_exp = property(lambda self: self.address.maximum_block_size_exp)
    is_multicast = False
    is_multicast_locally = False

    @property
    def authenticated_claims(self) -> list[str]:
        """The node id."""
        return [self.node]

    @property
    def blockwise_key(self) -> tuple[Any, str]:
        """Blocks of a protected transfer never mix with others."""
        return (self.address.blockwise_key, self.node)


def identity_of(request: Any) -> str | None:
    """The node that a request is authenticated as; None for an unprotected one."""
    remote = request.remote
    return remote.node if isinstance(remote, AuthenticatedRemote) else None


def plaintext_of(message: Message) -> bytes:
    """Code, options and payload as OSCORE encrypts them (RFC 8613 5.3)."""
    options: bytes = message.opt.encode()
    payload = b"\xff" + message.payload if message.payload else b""
    return bytes([int(message.code)]) + options + payload


def message_of(plaintext: bytes) -> Message:
    """The inverse of `plaintext_of`; the plaintext's options were checked when it was opened."""
    message = Message(code=Code(plaintext[0]))
    message.payload = message.opt.decode(plaintext[1:])
    return message


class _InnerPipe:
    """What a resource sees of aiocoap's pipe: a request, and a place for the response."""

    def __init__(self, request: Message) -> None:
        self.request = request
        self.response: Message | None = None

    def add_response(self, response: Message, is_last: bool = False) -> None:  # noqa: FBT001, FBT002 -- aiocoap's signature
        assert is_last, "no resource here can be observed"  # noqa: S101 -- a resource of ours
        self.response = response


class ProtectedSite(interfaces.Resource):  # type: ignore[misc]  # untyped base
    """Hands unprotected requests to the site as they are, and opened ones with an `AuthenticatedRemote`.

    Args:
        site: Our resources; they decide what they tell to whom.
        keys: The security contexts.
    """

    def __init__(self, site: Any, keys: KeyRing) -> None:
        super().__init__()
        self._site = site
        self._keys = keys
        self._buckets: dict[str, Bucket] = {}

    async def render(self, request: Message) -> Message:
        """Never called: pipes come in through `render_to_pipe`."""
        raise NotImplementedError

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        """As `render`."""
        raise NotImplementedError

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer one request, protected or not."""
        request = pipe.request
        option = request.opt.oscore
        if option is None:
            await self._site.render_to_pipe(pipe)
            return
        try:
            context = self._context_of(option, request)
            plaintext, binding = context.unprotect_request(option, request.payload)
            inner = _request_of(plaintext)
        except EchoRequired as required:
            self._challenge(pipe, context, required)
            return
        except OscoreError as refused:
            self._keys.refused[type(refused).__name__] += 1
            if request.mtype == CON:
                answer = Message(code=Code(refused.code), payload=str(refused).encode(), max_age=0)
                pipe.add_response(answer, is_last=True)
            return
        inner.direction = request.direction
        inner.remote = AuthenticatedRemote(request.remote, context.node)
        inner.mtype, inner.mid, inner.token = request.mtype, request.mid, request.token
        response = await self._respond(inner)
        _send(pipe, context.protect_response(binding, plaintext_of(response)))

    def _context_of(self, option: bytes, request: Message) -> SecurityContext:
        kid = decode_option(option)[1]
        context = None if kid is None else self._keys.of_kid(kid)
        if context is None:
            if kid is not None:
                self._keys.strangers.heard(kid, Address.of_remote(request.remote), time.time_ns() // 1_000_000)
            raise UnknownContextError("Security context not found")
        return context

    async def _respond(self, request: Message) -> Message:
        pipe = _InnerPipe(request)
        try:
            await self._site.render_to_pipe(pipe)
        except error.RenderableError as failure:
            return failure.to_message()
        except Exception:
            log.exception("a protected request failed unexpectedly")
        return pipe.response or Message(code=Code.INTERNAL_SERVER_ERROR)

    def _challenge(self, pipe: Any, context: SecurityContext, required: EchoRequired) -> None:
        bucket = self._buckets.setdefault(context.node, Bucket(CHALLENGES_PER_S, CHALLENGE_BURST))
        try:
            protected = context.challenge(required) if bucket.take() else None
        except StorageUnavailable:
            protected = None
        if protected is None:
            pipe.add_response(Message(code=Code.SERVICE_UNAVAILABLE, payload=b"try again"), is_last=True)
        else:
            self._keys.challenges += 1
            _send(pipe, protected)


def _request_of(plaintext: bytes) -> Message:
    if not 0 < plaintext[0] < FIRST_NON_REQUEST:
        raise OscoreError("not a request inside")
    try:
        return message_of(plaintext)
    except ValueError:
        raise OscoreError("an option inside has a value that cannot be") from None


def _send(pipe: Any, protected: tuple[bytes, bytes]) -> None:
    option, ciphertext = protected
    # 2.04 outside, whatever is inside (RFC 8613 4.2).
    pipe.add_response(Message(code=Code.CHANGED, oscore=option, payload=ciphertext), is_last=True)
