"""Run by test_memory.py: what glibc's heap has from the kernel after so many requests, and after more, in bytes, as JSON.

Arguments: apart (keep large blocks apart, as the gateway does) or as-it-is.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
from collections import deque

from andon_gateway.coap.recent import RecentRequests
from andon_gateway.operations.allocator import keep_large_blocks_apart

BATCH = 128
FIRST, LAST = 400_000, 1_000_000
OTHERS = (700, 2000, 4400, 30_000)
"""Sizes of what else lives for a while: SQLite's pages, payloads, texts."""
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Mallinfo2(ctypes.Structure):
    """mallinfo(3)."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS.split())


def heap() -> int:
    """Bytes of all heaps, used or not; mapped blocks are beside them."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = Mallinfo2
    return int(library.mallinfo2().arena)


def main() -> None:
    """Remember requests as the fast path does."""
    if sys.argv[1] == "apart" and not keep_large_blocks_apart():
        raise SystemExit("no glibc")
    recent = RecentRequests()
    sizes = random.Random(1)
    others: deque[bytes] = deque(maxlen=400)
    found = []
    for end in (FIRST, LAST):
        for batch in range(0 if end == FIRST else FIRST // BATCH, end // BATCH):
            for key in range(batch * BATCH, (batch + 1) * BATCH):
                recent.answers[key] = b"answer" + key.to_bytes(6, "big")
                recent.fresh.append(key)
            recent.age(batch / 100)
            others.extend(bytes(sizes.choice(OTHERS)) for _ in range(4))
        found.append(heap())
    print(json.dumps(found))  # noqa: T201 -- the answer


if __name__ == "__main__":
    main()
