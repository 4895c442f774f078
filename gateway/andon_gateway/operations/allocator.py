"""How the C library keeps memory: large blocks apart from the heap, so that they leave nothing behind in it."""

from __future__ import annotations

import ctypes
import logging
from typing import Final

log = logging.getLogger(__name__)

LARGE_BYTES: Final = 1 << 20
"""Blocks from this size on are mapped by themselves and go back to the kernel when they are freed."""
FREE_MOST_BYTES: Final = 4 << 20
"""More free memory than this at the end of a heap goes back to the kernel. glibc's 128 KiB, with which it begins, would have the bodies
of the uplink's writes taken from the kernel anew each time."""
_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3


def keep_large_blocks_apart() -> bool:
    """Give glibc's malloc fixed limits, for the whole process, all threads and from now on; False: another C library, all stays as it is.

    By itself glibc raises the first limit (mallopt(3), M_MMAP_THRESHOLD) to the size of each mapped block that is freed, up to 32 MiB. The
    next such block then comes from the heap, and when it is freed in its turn small ones settle in the hole, which does not fit again:
    the table of the recent message ids (coap/recent.py: 5 MB, a new one every 109,000 messages) came to lie in the heap three times.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # such as musl
        return False
    done = bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, FREE_MOST_BYTES))
    if not done:
        log.warning("malloc does not take its limits: the process may come to need some 20 MB more")
    return done
