"""The gateway's CoAP resources (docs/protocol.md, "CoAP at the gateway") on aiocoap."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from typing import TYPE_CHECKING, Any, Final

from aiocoap import Message, error, resource  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped]  # same
from aiocoap.numbers.contentformat import ContentFormat  # type: ignore[import-untyped]  # same

from andon_gateway.nodes.table import Address, NodeTable, Software
from andon_gateway.security.access import AccessPolicy, refusal_text
from andon_gateway.security.oscore_site import identity_of
from andon_gateway.spool.intake import CLOCK_WAIT_S, RETRY_AFTER_S, TOO_LARGE, Outcome, TelemetryIntake
from andon_gateway.vocabulary import is_node_id

if TYPE_CHECKING:
    from pathlib import Path

    from andon_gateway.errors import StorageUnavailable
    from andon_gateway.nodes.own_clock import OwnClock

log = logging.getLogger(__name__)

DEFAULT_LIFETIME_S: Final = 90_000  # RFC 9176 5.1
MAX_LIFETIME_S: Final = 2**32 - 1
MIN_LIFETIME_S: Final = 1
MAX_LINKS_BYTES: Final = 1024
FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}", re.ASCII)
MAX_REVISION_DIGITS: Final = 15
MAX_BLOCK_BYTES: Final = 1024  # RFC 7959 2.2, SZX 6
ETAG_BYTES: Final = 8  # the most that CoAP allows (RFC 7252 5.10.6)


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def address_of(request: Any) -> Address:
    """The sender of a request as an IP literal and a port."""
    return Address.of_remote(request.remote)


def _query(request: Any) -> dict[str, str]:
    """Uri-Query options as a dictionary.

    Raises:
        error.BadRequest: An option is given twice.
    """
    pairs = [item.partition("=")[::2] for item in request.opt.uri_query]
    query = dict(pairs)
    if len(query) != len(pairs):
        raise error.BadRequest("each query parameter may be given once")
    return query


def _node(query: dict[str, str]) -> str:
    node = query.get("ep", "")
    if not is_node_id(node):
        raise error.BadRequest("expected ?ep= with a node id: a DNS label such as press-7")
    return node


def _software(query: dict[str, str]) -> Software:
    """What the node says it runs (`ver`, `cfg`); what is not readable counts as not said, it is no reason to refuse a node."""
    version, revision = query.get("ver", ""), query.get("cfg", "")
    readable = revision.isascii() and revision.isdigit() and len(revision) <= MAX_REVISION_DIGITS
    return Software(
        version if VERSION.fullmatch(version) else None,
        int(revision) if readable else None,
    )


def _authorize(access: AccessPolicy, node: str, request: Any) -> None:
    """Check that the sender may speak for the node.

    Raises:
        error.Unauthorized: It must use OSCORE.
        error.Forbidden: Its keys belong to another node.
    """
    identity = identity_of(request)
    verdict = access.verdict(node, identity)
    if verdict == "unprotected":
        raise error.Unauthorized(refusal_text(verdict, node, identity))
    if verdict == "identity":
        raise error.Forbidden(refusal_text(verdict, node, identity))


def _only(request: Any, content_format: int) -> None:
    """Check the Accept option (RFC 7252 5.10.4)."""
    if request.opt.accept not in (None, content_format):
        raise error.NotAcceptable(f"only content-format {int(content_format)} is available here")


class _Resource(resource.Resource):  # type: ignore[misc]  # untyped base
    """A resource whose 4.05 says which methods there are."""

    methods = "GET"

    async def render(self, request: Any) -> Any:
        try:
            return await super().render(request)
        except error.UnallowedMethod:
            raise error.UnallowedMethod(f"only {self.methods} is allowed here") from None


class Telemetry(_Resource):
    """POST /t: the adapter between aiocoap and `TelemetryIntake`."""

    methods = "POST"
    rt = "andon.telemetry"
    ct = "112 110"

    def __init__(self, intake: TelemetryIntake) -> None:
        super().__init__()
        self._intake = intake

    async def needs_blockwise_assembly(self, request: Any) -> bool:  # noqa: ARG002 -- aiocoap's signature
        """A pack fits in one message: nothing is assembled, so nobody can make us keep half-sent ones."""
        return False

    async def render_post(self, request: Any) -> Message:
        """Answer when the pack is durable."""
        block = request.opt.block1
        if block is not None and (block.more or block.block_number):
            return _message(TOO_LARGE)
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not answered.done():
                answered.set_result(outcome)

        content_format = request.opt.content_format
        self._intake.receive(
            request.payload,
            None if content_format is None else int(content_format),
            address_of(request),
            now_ms(),
            done,
            identity=identity_of(request),
        )
        response = _message(await answered)
        if block is not None:
            response.opt.block1 = block
        return response


def _message(outcome: Outcome) -> Message:
    message = Message(code=Code(outcome.answer.value), payload=outcome.diagnostic.encode())
    if outcome.max_age_s is not None:
        message.opt.max_age = outcome.max_age_s
    return message


class Registration(_Resource):
    """POST /rd (RFC 9176 5.1): the node's address for commands. The links are checked for size and not kept."""

    methods = "POST"
    rt = "core.rd"
    ct = "40"

    def __init__(self, nodes: NodeTable, access: AccessPolicy) -> None:
        super().__init__()
        self._nodes = nodes
        self._access = access

    async def render_post(self, request: Any) -> Message:
        """Register or refresh; 2.01 when durable."""
        query = _query(request)
        node = _node(query)
        await self._register(request, node, query, _software(query))
        return Message(code=Code.CREATED, location_path=("rd", node))

    async def _register(self, request: Any, node: str, query: dict[str, str], software: Software | None) -> None:
        _authorize(self._access, node, request)
        lifetime = query.get("lt", str(DEFAULT_LIFETIME_S))
        readable = lifetime.isascii() and lifetime.isdigit() and len(lifetime) <= len(str(MAX_LIFETIME_S))
        if not readable or not MIN_LIFETIME_S <= int(lifetime) <= MAX_LIFETIME_S:
            raise error.BadRequest(f"expected lt in seconds, {MIN_LIFETIME_S} to {MAX_LIFETIME_S}")
        if request.opt.content_format not in (None, ContentFormat.LINKFORMAT):
            raise error.UnsupportedContentFormat("expected content-format 40 (application/link-format)")
        if len(request.payload) > MAX_LINKS_BYTES:
            raise error.RequestEntityTooLarge(f"at most {MAX_LINKS_BYTES} bytes of links")
        answered: asyncio.Future[StorageUnavailable | None] = asyncio.get_running_loop().create_future()

        def done(_result: None, failure: StorageUnavailable | None) -> None:
            if not answered.done():
                answered.set_result(failure)

        self._nodes.register(node, address_of(request), int(lifetime), now_ms(), done, software)
        failure = await answered
        if failure is not None:
            raise _Later(str(failure))


class _Later(error.ServiceUnavailable):  # type: ignore[misc]  # untyped base
    """5.03 with the time after which to try again."""

    def __init__(self, text: str, max_age_s: int = RETRY_AFTER_S) -> None:
        super().__init__(text)
        self._max_age_s = max_age_s

    def to_message(self) -> Message:
        message = super().to_message()
        message.opt.max_age = self._max_age_s
        return message


class RegistrationUpdate(Registration, resource.PathCapable):  # type: ignore[misc]  # untyped base
    """POST /rd/{node} (RFC 9176 5.3.1): renews a registration at the location that it got."""

    async def render_post(self, request: Any) -> Message:
        """2.04 when durable; 4.04 sends the node back to `POST /rd`."""
        path = request.opt.uri_path
        known = self._nodes.get(path[0]) if len(path) == 1 else None
        if known is None or known.lifetime_s is None:
            raise error.NotFound("no such registration; register with POST /rd?ep=")
        query = _query(request)
        query.setdefault("lt", str(known.lifetime_s))
        await self._register(request, path[0], query, None)
        return Message(code=Code.CHANGED)


class Time(_Resource):
    """GET /time: the gateway's clock for nodes that have none."""

    rt = "andon.time"
    ct = "0"

    def __init__(self, clock: OwnClock) -> None:
        super().__init__()
        self._clock = clock

    async def render_get(self, request: Any) -> Message:
        """Epoch milliseconds in ASCII digits, never from a cache; 5.03 rather than a time that the gateway does not believe itself."""
        _only(request, ContentFormat.TEXT)
        if not self._clock.right:
            raise _Later("the gateway's clock is wrong; try again", CLOCK_WAIT_S)
        return Message(payload=str(now_ms()).encode(), content_format=ContentFormat.TEXT, max_age=0)


class _Files(_Resource):
    """Serves a folder's files with an ETag; a file is read anew for each request."""

    def __init__(self, folder: Path, content_format: ContentFormat) -> None:
        super().__init__()
        self._folder = folder
        self._format = content_format

    async def answer(self, request: Any, name: str) -> Message:
        """2.05 with the file, or 2.03 when the client's ETag is current.

        Raises:
            error.NotFound: No such file, or a name that could lead out of the folder.
        """
        _only(request, self._format)
        content = await asyncio.to_thread(_read, self._folder / name) if FILE_NAME.fullmatch(name) else None
        if content is None:
            raise error.NotFound(f"{self._folder.name}: the gateway keeps no such file")
        etag = hashlib.sha256(content).digest()[:ETAG_BYTES]
        if etag in request.opt.etags:
            return Message(code=Code.VALID, etag=etag)
        message = Message(etag=etag, content_format=self._format)
        block2 = request.opt.block2
        size = MAX_BLOCK_BYTES if block2 is None else min(block2.size, MAX_BLOCK_BYTES)
        if block2 is None and len(content) <= size:
            message.payload = content
            return message
        number = 0 if block2 is None else block2.block_number
        start = number * size
        if start >= len(content) > 0 and number:
            raise error.BadRequest(f"the file ends before block {number}")
        message.payload = content[start : start + size]
        message.opt.block2 = (number, start + size < len(content), size.bit_length() - 5)
        message.opt.size2 = len(content)
        return message

    async def needs_blockwise_assembly(self, request: Any) -> bool:  # noqa: ARG002 -- aiocoap's signature
        """Each block is cut from the file when it is asked for: nothing is kept between them, and any may be the first."""
        return False


def _read(path: Path) -> bytes | None:
    try:
        # A link inside the folder could point anywhere; only plain files are served.
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


class NodeConfiguration(_Files):
    """GET /config?ep=: `<state_dir>/config/<node>.json`."""

    rt = "andon.config"
    ct = "50"

    def __init__(self, folder: Path, access: AccessPolicy) -> None:
        super().__init__(folder, ContentFormat.JSON)
        self._access = access

    async def render_get(self, request: Any) -> Message:
        """The node's configuration, which may hold a Wi-Fi password, for that node; 4.04 when there is none."""
        node = _node(_query(request))
        _authorize(self._access, node, request)
        return await self.answer(request, f"{node}.json")


class Firmware(_Files, resource.PathCapable):  # type: ignore[misc]  # untyped base
    """GET /fw/{name}: `<state_dir>/fw/<name>`; aiocoap cuts it into blocks (RFC 7959)."""

    rt = "andon.firmware"

    async def render_get(self, request: Any) -> Message:
        """The file, 4.04 when there is none."""
        path = request.opt.uri_path
        return await self.answer(request, path[0] if len(path) == 1 else "")


class _Site(resource.Site):  # type: ignore[misc]  # untyped base
    """aiocoap's site with a diagnostic payload on unknown paths and on our own failures (RFC 7252 5.5.2)."""

    async def render_to_pipe(self, request: Any) -> None:
        try:
            await super().render_to_pipe(request)
        except error.NotFound as missing:
            raise error.NotFound(missing.message or "no such resource; see /.well-known/core") from None
        except error.RenderableError:
            raise
        except Exception:
            log.exception("a CoAP request failed unexpectedly")
            raise error.InternalServerError("the gateway failed on this request; its log says why") from None


def build_site(intake: TelemetryIntake, nodes: NodeTable, access: AccessPolicy, state_dir: Path) -> resource.Site:
    """All resources of docs/protocol.md, "CoAP at the gateway"."""
    site = _Site()
    site.add_resource(["t"], Telemetry(intake))
    site.add_resource(["rd"], Registration(nodes, access))
    site.add_resource(["rd"], RegistrationUpdate(nodes, access))  # path-capable: everything below rd
    site.add_resource(["time"], Time(intake.clock))
    site.add_resource(["config"], NodeConfiguration(state_dir / "config", access))
    site.add_resource(["fw"], Firmware(state_dir / "fw", ContentFormat.OCTETSTREAM))
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader, impl_info=None))
    return site
