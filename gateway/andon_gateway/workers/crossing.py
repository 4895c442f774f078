"""A pack as built-in types, to cross between processes. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from andon_gateway.senml.pack import Pack, Reading

Packed = tuple[Any, ...]
_NONE_REJECTED: Final[Counter[str]] = Counter()
"""Shared: nobody adds to what a decoder has counted."""


def pack_up(pack: Pack) -> Packed:
    """The pack as a tuple."""
    rejected = dict(pack.rejected) if pack.rejected else None
    return pack.node, pack.boot, pack.seq, [tuple(reading) for reading in pack.readings], rejected, pack.counted


def unpack(packed: Packed) -> Pack:
    """The inverse of `pack_up`."""
    node, boot, seq, readings, rejected, counted = packed
    make = Reading._make
    return Pack(
        node,
        boot,
        seq,
        [make(reading) for reading in readings],
        Counter(rejected) if rejected else _NONE_REJECTED,
        counted,
    )
