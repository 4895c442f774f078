"""How quick the machine's memory is just now, beyond a core's own cache.

Other tenants of a shared host use the same outer cache and memory. Python's objects lie scattered, so what a message costs rises and falls
with them, whatever the server does: a figure without this number cannot be compared with another one.
"""

from __future__ import annotations

import random
import time
from typing import Final

ENTRIES: Final = 1 << 16
"""With their keys and values 9 MB: more than the cache of a core holds, less than the outer one."""
_SEED: Final = 1


class MemoryProbe:
    """A table whose entries are looked up in random order: each is three or four places that are in no cache of the core."""

    def __init__(self) -> None:
        self._keys = [number << 30 for number in range(ENTRIES)]  # so large that each is an object of its own
        self._table = {key: key + 1 for key in self._keys}
        random.Random(_SEED).shuffle(self._keys)  # noqa: S311 -- an order, no secret

    def nanoseconds(self) -> float:
        """CPU time of one look-up; takes about 15 ms."""
        look_up = self._table.__getitem__
        began = time.thread_time_ns()
        for _ in map(look_up, self._keys):
            pass
        return (time.thread_time_ns() - began) / ENTRIES
