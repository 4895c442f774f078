"""What the system knows about its clock: whether a time server has set it. Linux."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEX_BYTES: Final = 512  # struct timex (sys/timex.h) has 208 on 64 bits; all zero it only asks
_TIME_ERROR: Final = 5  # adjtimex(2): not synchronised


def synchronised() -> bool:
    """Whether chrony, ntpd or timesyncd keeps the clock; False also where nobody can say, as in some containers.

    The kernel takes it back when the time server was away for hours.
    """
    ask = _adjtimex()
    return ask is not None and 0 <= ask(ctypes.create_string_buffer(_TIMEX_BYTES)) < _TIME_ERROR


@cache
def _adjtimex() -> Callable[[Any], int] | None:
    try:
        function = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_char_p]
    found: Callable[[Any], int] = function
    return found
