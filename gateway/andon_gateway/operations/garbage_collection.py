"""How often Python looks for cycles of objects that nobody needs."""

from __future__ import annotations

import gc
from typing import Final

COLLECT_AFTER: Final = (10_000, 1, 250)
"""Objects made and not yet freed before Python looks for cycles among them (its own default is 700), after how many such looks it goes over the
survivors again, and after how many of those over all. A look stops all threads, for 0.2 to 0.4 us an object: over two times 10,000 survivors 4 ms,
over a million, as many as aiocoap makes of a flood, 0.4 s, which with these numbers comes once in five million objects. With
five times 20,000 in the second look it took 29 ms there (2026-11-26)."""


def collect_seldom() -> None:
    """Set the limits; what is there already is not looked at any more. For a process that has just started.

    Packs under way are many objects without cycles: the collector would walk over them again and again and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
