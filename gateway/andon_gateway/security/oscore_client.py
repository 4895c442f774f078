"""Protected requests to nodes through aiocoap: one exchange, and one more where the node asks for a proof of freshness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiocoap import Message, error  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped]  # same

from andon_gateway.errors import StorageUnavailable
from andon_gateway.security.oscore import OscoreError
from andon_gateway.security.oscore_site import message_of, plaintext_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from andon_gateway.security.oscore import SecurityContext

_ATTEMPTS: Final = 2  # the second one with the Echo option of the first one's answer


async def ask_protected(
    security: SecurityContext, inner: Message, uri: str, tuning: Any, exchange: Callable[[Message], Awaitable[Message]]
) -> Message:
    """Send a request protected and return the plain response.

    Args:
        security: The node's context.
        inner: The request; gets an Echo option when the node asks for one.
        uri: `coap://host:port` of the node.
        tuning: aiocoap's transmission parameters.
        exchange: Sends one message and returns its response.

    Raises:
        OSError: No answer, or none that the node has protected.
    """
    for _ in range(_ATTEMPTS):
        try:
            option, ciphertext, binding = security.protect_request(plaintext_of(inner))
            outer = Message(code=Code.POST, uri=uri, payload=ciphertext, oscore=option, transport_tuning=tuning)
            outer = await exchange(outer)
            if outer.opt.oscore is None:
                text = outer.payload[:100].decode(errors="replace")
                raise OSError(f"the node's answer is not protected: {outer.code.dotted} {text}")
            response = message_of(security.unprotect_response(binding, outer.opt.oscore, outer.payload))
        except (OscoreError, StorageUnavailable, ValueError) as failure:
            raise OSError(str(failure)) from None
        except error.Error as failure:
            raise OSError(f"{type(failure).__name__} {failure}".strip()) from None
        if response.code != Code.UNAUTHORIZED or response.opt.echo is None:
            return response
        inner.opt.echo = response.opt.echo
    raise OSError("the node asks for a proof of freshness again and again")
