"""The fast path in a worker process: the same code, but the gateway decides what is a replay and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from andon_gateway.coap.fast_path import FastCounts, FastPath
from andon_gateway.coap.wire import CON, tail
from andon_gateway.security.oscore import Binding, DecodeError, DecryptionError, OscoreError, decode_option
from andon_gateway.spool.intake import TAKEN, Answer, Outcome, Undecodable
from andon_gateway.workers import frames
from andon_gateway.workers.upstream import LOST, REPLAYED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.coap.fast_path import _Exchange
    from andon_gateway.coap.route import SocketAddress
    from andon_gateway.nodes.table import Address
    from andon_gateway.workers.upstream import Proof, Upstream, WorkerKeys


class WorkerPath(FastPath):
    """`FastPath` with its intake in another process.

    Args:
        upstream: Stands for the intake.
        keys: Stands for the keys.
        source: An `Address` for a socket address.
        later: Calls something after so many seconds.
        before_end: Called when a batch of datagrams is complete, before its packs leave.
    """

    def __init__(
        self,
        upstream: Upstream,
        keys: WorkerKeys,
        source: Callable[[SocketAddress], Address],
        later: Callable[[float, Callable[[], None]], object],
        before_end: Callable[[], None],
    ) -> None:
        super().__init__(upstream, keys, source, later, FastCounts())
        self._upstream = upstream
        self._before_end = before_end

    @property
    def now_ms(self) -> int:
        """Arrival time of the batch, ms since the epoch."""
        return self._now_ms

    def end(self, now_s: float) -> None:
        """The batch is complete: what is not ours goes first, in the order of arrival."""
        self._before_end()
        super().end(now_s)

    def _refuse(self, exchange: _Exchange, refused: OscoreError, option: bytes) -> None:
        if not isinstance(refused, (DecryptionError, DecodeError)) or (proof := self._proof(option)) is None:
            super()._refuse(exchange, refused, option)
            return
        # Nobody can read it; but where its number was used before, it is refused as a replay.
        kid, piv = proof
        exchange.binding = Binding(kid, piv, nonce_free=False)  # without a context: the answer is not protected
        self._packs.append(
            Undecodable(Outcome(Answer(refused.code), str(refused), 0), frames.UNREADABLE + type(refused).__name__)
        )
        assert exchange.route.source is not None  # noqa: S101 -- `take` has met the sender
        self._sources.append(exchange.route.source)
        self._exchanges.append(exchange)

    def _proof(self, option: bytes) -> Proof | None:
        """Kid and Partial IV, where they are readable and the keys are known."""
        try:
            piv, kid = decode_option(option)
        except OscoreError:
            return None
        return (kid, piv) if piv and kid is not None and self._keys.of_kid(kid) is not None else None

    def _keep(self, packs: Sequence[Any], sources: Sequence[Address], exchanges: list[_Exchange]) -> None:
        proofs = [None if item.binding is None else (item.binding.kid, item.binding.piv) for item in exchanges]

        def done(outcomes: list[Outcome]) -> None:
            if all(outcome is TAKEN for outcome in outcomes):  # as nearly always
                self._answer_all(exchanges, outcomes)
            else:
                self._sort_out(exchanges, outcomes)
            exchanges.clear()

        self._upstream.keep(packs, sources, self._now_ms, done, proofs)

    def _sort_out(self, exchanges: Sequence[_Exchange], outcomes: Sequence[Outcome]) -> None:
        for exchange, outcome in zip(exchanges, outcomes, strict=True):
            if outcome is LOST:
                exchange.answered = True
                self._recent.answers.pop(exchange.key, None)
            elif outcome is REPLAYED or (exchange.binding is not None and exchange.context is None):
                # Never with the request's nonce, which its first answer has used (RFC 8613 8.2).
                exchange.answered = True
                exchange.context = None
                if exchange.head[0] >> 4 & 3 == CON:
                    self._answer(exchange, outcome.answer.value, tail(outcome.diagnostic, outcome.max_age_s))
            else:
                self._answer_all([exchange], [outcome])
