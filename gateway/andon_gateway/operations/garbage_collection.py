"""How often Python looks for cycles of objects that nobody needs."""

from __future__ import annotations

import gc
from typing import Final

COLLECT_AFTER: Final = (20_000, 4, 50)
"""Objects made and not yet freed before Python looks for cycles among them (its own default is 700), and how often before it looks at
older ones too. A look stops all threads: some 20 ms at these 80,000 objects, 230 ms were seen at 500,000 after 10,000 registrations."""


def collect_seldom() -> None:
    """Set the limits; what is there already is not looked at any more. For a process that has just started.

    Packs under way are many objects without cycles: the collector would walk over them again and again and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
