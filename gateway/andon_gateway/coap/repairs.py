"""What this version of aiocoap gets wrong, mended on its objects; each repair says how to see that it is not needed any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aiocoap.numbers.types import ACK, RST  # type: ignore[import-untyped]  # aiocoap ships no types

if TYPE_CHECKING:
    from andon_gateway.coap.route import Ancillary, SocketAddress

log = logging.getLogger(__name__)

_DIFFERENT: Final = "this version of aiocoap is built differently: coap/repairs.py has to be looked through"
_ERRORS_BEFORE: Final = 8
"""So many errors of earlier messages may wait for one that is sent now; the kernel keeps one, others may come in between."""


def keep_own_ids_apart(context: Any) -> None:
    """Only an acknowledgement or a reset answers a duplicate of a request.

    Both ends number their messages for themselves (RFC 7252 4.4). aiocoap remembers whatever it sends as the answer to the request that came with
    the same id, also a separate response of its own that only happens to have it. A repetition of that request would then be answered
    with another one's response, or, if that is confirmable, raise `AssertionError: messageerror_monitor needs to be set for CONs`.
    Seen in aiocoap 0.4.17; not needed when `test_a_request_with_the_id_of_a_separate_response` passes without it.
    """
    try:
        manager = context.request_interfaces[0].token_interface
        store = manager._store_response_for_duplicates  # noqa: SLF001 -- the fault is inside
    except (AttributeError, IndexError):
        log.warning(_DIFFERENT)
        return

    def store_answers(message: Any) -> None:
        if message.mtype in (ACK, RST):
            store(message)

    manager._store_response_for_duplicates = store_answers  # noqa: SLF001 -- same


def keep_errors_of_others_apart(context: Any) -> None:
    """What is sent to one node does not fail because another one has closed its port.

    The kernel reports the ICMP error of a message to whoever uses the socket next (udp(7), IP_RECVERR). aiocoap takes it for an error of the message
    that it is just sending: that one is lost, and all that it has under way with that node ends: separate responses are repeated no
    more, so that the node waits for ever, and commands to it fail. Such an error does not come back, so sending again tells whether it was one.
    Seen in aiocoap 0.4.17; not needed when `test_a_stranger_that_is_gone_takes_no_answer_from_others` passes without it.
    """
    try:
        interface = context.request_interfaces[0].token_interface.message_interface
        transport = interface.transport
        link = transport.get_extra_info("socket")
        give_up = transport.sendmsg
    except (AttributeError, IndexError):
        log.warning(_DIFFERENT)
        return

    def send(data: bytes, ancillary: Ancillary, flags: int, address: SocketAddress) -> None:
        for _ in range(_ERRORS_BEFORE):
            try:
                link.sendmsg((data,), ancillary, flags, address)
            except BlockingIOError:
                return  # no room: lost like any datagram, and repeated like any
            except OSError:
                continue
            return
        give_up(data, ancillary, flags, address)

    transport.sendmsg = send
