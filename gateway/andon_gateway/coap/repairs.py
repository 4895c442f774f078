"""What this version of aiocoap gets wrong, mended on its objects; each repair says how to see that it is not needed any more."""

from __future__ import annotations

import logging
from typing import Any

from aiocoap.numbers.types import ACK, RST  # type: ignore[import-untyped]  # aiocoap ships no types

log = logging.getLogger(__name__)


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
        log.warning("this version of aiocoap is built differently: coap/repairs.py has to be looked through")
        return

    def store_answers(message: Any) -> None:
        if message.mtype in (ACK, RST):
            store(message)

    manager._store_response_for_duplicates = store_answers  # noqa: SLF001 -- same
