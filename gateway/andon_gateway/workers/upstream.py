"""What stands for the gateway's intake and keys in a worker: decoding here, deciding there."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from andon_gateway.errors import StorageUnavailable
from andon_gateway.security.oscore import Credential, SecurityContext
from andon_gateway.spool import intake
from andon_gateway.spool.intake import Answer, Outcome, PackDecoder, Undecodable
from andon_gateway.workers import frames
from andon_gateway.workers.crossing import Packer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from andon_gateway.nodes.table import Address
    from andon_gateway.senml.pack import Pack

Proof = tuple[bytes, bytes]
"""Kid and Partial IV of a protected request, for the replay window."""
REPLAYED: Final = Outcome(Answer.UNAUTHORIZED, "Replay detected", 0)
LOST: Final = Outcome(Answer.SERVICE_UNAVAILABLE, "to be sent again")
"""Stands for no answer at all."""
MOST_STRANGERS: Final = 64
FEW_IDS: Final = 256


class WorkerKeys:
    """The gateway's keys, and what is to be told about messages that they do not open.

    The windows here only save work: whether a request is new is decided by the gateway's.
    """

    def __init__(self) -> None:
        self.version = -1
        self.refused: Counter[str] = Counter()
        self._by_kid: dict[bytes, SecurityContext] = {}
        self._heard: dict[tuple[bytes, str, int], int] = {}

    @property
    def strangers(self) -> WorkerKeys:
        """Notes unknown senders."""
        return self

    def of_kid(self, kid: bytes) -> SecurityContext | None:
        """The context that a request's kid names."""
        return self._by_kid.get(kid)

    def heard(self, kid: bytes, address: Address, now_ms: int) -> None:  # noqa: ARG002 -- as `Strangers`, which the gateway asks by its own clock
        """Note a message whose keys are not here; some of a flood are enough."""
        key = (kid, address.host, address.port)
        if key in self._heard or len(self._heard) < MOST_STRANGERS:
            self._heard[key] = self._heard.get(key, 0) + 1

    def take_heard(self) -> list[tuple[bytes, str, int, int]]:
        """Who was heard since the last call, and how often."""
        heard, self._heard = self._heard, {}
        return [(*key, count) for key, count in heard.items()]

    def replace(self, version: int, rows: Iterable[tuple[str, bytes, bytes, bytes, bytes, bool]]) -> None:
        """Take a new table; contexts of unchanged keys stay."""
        known, self._by_kid = self._by_kid, {}
        self.version = version
        for node, secret, salt, node_id, gateway_id, usable in rows:
            credential = Credential(node, secret, salt, node_id, gateway_id)
            context = known.get(credential.node_id)
            if context is None or context.credential != credential:
                context = SecurityContext(credential, _NoNumbers())
            context.window.usable = usable
            self._by_kid[credential.node_id] = context

    def allow(self, kid: bytes) -> None:
        """The node has proven its freshness to the gateway."""
        context = self._by_kid.get(kid)
        if context is not None:
            context.window.usable = True


class _NoNumbers:
    """A worker answers with the request's nonce only; what needs a number of ours is the gateway's to send."""

    def take(self) -> int:
        """Refuse.

        Raises:
            StorageUnavailable: Always.
        """
        raise StorageUnavailable("a worker has no sender sequence numbers")


class Upstream:
    """Decodes packs, and asks the gateway to check and keep them.

    Args:
        send: Takes messages to the gateway.
        keys: Whose version goes with what they have opened.
    """

    def __init__(self, send: Callable[[frames.Message], None], keys: WorkerKeys) -> None:
        self._send = send
        self._keys = keys
        self._decoder = PackDecoder()
        self._packer = Packer()
        self._number = 0
        self._waiting: dict[int, tuple[Sequence[Pack | Undecodable], Callable[[list[Outcome]], None]]] = {}

    def examine(
        self,
        payload: bytes,
        content_format: int | None,
        source: Address,  # noqa: ARG002 -- as `TelemetryIntake`
        now_ms: int,
        identity: str | None,  # noqa: ARG002 -- same
    ) -> Pack | Undecodable:
        """Decode; what is refused has to wait for the gateway as well, which may find that it is a replay."""
        return self._decoder.decode(payload, content_format, now_ms)

    def keep(
        self,
        packs: Sequence[Any],
        sources: Sequence[Address],
        now_ms: int,
        done: Callable[[list[Outcome]], None],
        proofs: Sequence[Proof | None] = (),
    ) -> None:
        """Hand over what `examine` gave; `done` may be told `REPLAYED` and `LOST`."""
        items = [
            (
                found.reason if isinstance(found, Undecodable) else self._packer.pack_up(found),
                source.host,
                source.port,
                *(proof or (None, None)),
            )
            for found, source, proof in zip(packs, sources, proofs or [None] * len(packs), strict=True)
        ]
        self._number += 1
        self._waiting[self._number] = (packs, done)
        self._send((frames.PACKS, self._number, now_ms, self._keys.version, items))

    def answered(self, number: int, verdicts: Sequence[Any] | None) -> None:
        """The gateway has decided."""
        packs, done = self._waiting.pop(number)
        if verdicts is None:
            done([intake.TAKEN] * len(packs))
        else:
            done([_outcome(verdict, found) for verdict, found in zip(verdicts, packs, strict=True)])


def _outcome(verdict: Any, found: Pack | Undecodable) -> Outcome:
    if verdict == frames.TAKEN:
        return intake.TAKEN
    if verdict == frames.REPLAYED:
        return REPLAYED
    if verdict == frames.OWN and isinstance(found, Undecodable):
        return found.outcome
    if isinstance(verdict, tuple):
        code, diagnostic, max_age_s = verdict
        return Outcome(Answer(code), diagnostic, max_age_s)
    return LOST


class MessageIds:
    """Message ids that aiocoap's counter has set aside for this worker's answers to non-confirmable requests.

    Args:
        order: Asks for more.
    """

    def __init__(self, order: Callable[[], None]) -> None:
        self._ids: deque[int] = deque()
        self._order = order
        self._ordered = False

    def add(self, ids: Iterable[int]) -> None:
        """More of them."""
        self._ids.extend(ids)
        self._ordered = False

    def take(self) -> int:
        """The next one.

        Faster than they come, some are used again: 65,536 ids last 247 s (RFC 7252 4.8.2) at 265 answers a second in any case.
        """
        if len(self._ids) < FEW_IDS and not self._ordered:
            self._ordered = True
            self._order()
        if not self._ids:
            return 0
        number = self._ids.popleft()
        if not self._ids:
            self._ids.append(number)
        return number
