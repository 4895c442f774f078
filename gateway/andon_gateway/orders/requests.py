"""Requests to nodes that carry an order out: patient, repeated, and one error for whatever keeps a node from answering."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from andon_gateway.backoff import Backoff

if TYPE_CHECKING:
    from andon_gateway.commands.relay import NodeAnswer
    from andon_gateway.nodes.table import Address, NodeTable

ACK_FIRST_S: Final = 3.0
ACK_MOST_S: Final = 8.0
ANSWER_S: Final = 15.0
BLOCK_BYTES: Final = 512  # the node's own preference; RFC 7959 2.2, SZX 5
BLOCK_ACK_S: Final = (
    2.0  # ACK_TIMEOUT (RFC 7252 4.8), repeated by the CoAP layer: a new message would begin the transfer again
)
BLOCK_REPEATS: Final = 4
LAST_BLOCK_S: Final = 90.0  # a board takes seconds to check a signature, and longer beside its other work
CONTINUE: Final = (2, 31)


class NotNowError(Exception):
    """The node or the cloud cannot be asked at the moment; the message says why."""


class RequestClient(Protocol):
    """Sends confirmable requests to nodes from the gateway's own port."""

    async def ask_json(
        self, node: str, address: Address, method: str, path: str, payload: bytes, patience_s: float
    ) -> NodeAnswer:
        """One confirmable message, not repeated.

        Raises:
            OSError: Not acknowledged within `patience_s`, or the node is not there.
        """

    async def put_block(
        self, node: str, address: Address, path: str, block: tuple[int, bool, bytes], patience: tuple[float, int]
    ) -> NodeAnswer:
        """One block of a long PUT, the message repeated as RFC 7252 says.

        Args:
            node: To whom.
            address: Where.
            path: Of the resource, with its query after a question mark.
            block: Its number, whether more follow, and its content of `BLOCK_BYTES`, the last one's at most.
            patience: ACK_TIMEOUT in seconds, and how often the message is repeated.

        Raises:
            OSError: Not acknowledged, or the node is not there.
        """


class NodeRequests:
    """Asks registered nodes.

    Args:
        nodes: Their addresses.
        client: CoAP.
    """

    def __init__(self, nodes: NodeTable, client: RequestClient) -> None:
        self._nodes = nodes
        self._client = client

    async def ask(self, node: str, method: str, path: str, payload: bytes = b"") -> NodeAnswer:
        """One request, repeated once.

        Raises:
            NotNowError: No answer.
        """
        patience = Backoff(ACK_FIRST_S, ACK_MOST_S)
        problem: NotNowError | None = None
        for _ in range(2):
            try:
                request = self._client.ask_json(node, self._address(node), method, path, payload, patience.next_s())
                return await asyncio.wait_for(request, ANSWER_S)
            except (OSError, TimeoutError) as error:
                problem = NotNowError(f"no answer from the node ({error})")
        raise problem or NotNowError("no answer from the node")

    async def put_in_blocks(self, node: str, path: str, body: bytes) -> NodeAnswer:
        """A long PUT, block after block (RFC 7959 2.5); the answer is that to the last block, or to the first one refused.

        Raises:
            NotNowError: A block was not answered; the next transfer begins anew.
        """
        starts = range(0, len(body), BLOCK_BYTES)
        for number, start in enumerate(starts):
            more = number + 1 < len(starts)
            block = (number, more, body[start : start + BLOCK_BYTES])
            request = self._client.put_block(node, self._address(node), path, block, (BLOCK_ACK_S, BLOCK_REPEATS))
            try:
                answer = await asyncio.wait_for(request, LAST_BLOCK_S)
            except (OSError, TimeoutError) as error:
                raise NotNowError(f"no answer from the node to block {number + 1} of {len(starts)} ({error})") from None
            if answer.code != CONTINUE:
                return answer
        raise NotNowError("the node wants more blocks than there are")

    def _address(self, node: str) -> Address:
        entry = self._nodes.get(node)
        if entry is None:
            raise NotNowError("the node has not registered")
        return entry.address


def answer_text(answer: NodeAnswer) -> str:
    """An answer for people: code, and what the node says."""
    text = answer.payload[:200].decode(errors="replace")
    return f"{answer.code[0]}.{answer.code[1]:02d} {text}".strip()
