"""The readings of a usual pack in columns: what all packs of one form share, and the numbers of one pack as bytes. Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_gateway.vocabulary import Value


class Form:
    """What all packs of one shape share; compared by identity.

    Args:
        names: Of the readings, in their order.
        types: Of their values, a letter of `struct` for each: `d` for a number, `q` for an integer, `?` for a boolean.
        counted: All values are numbers, and those at these places count since the node's boot; None: not known.

    Attributes:
        names: See there.
        types: See there.
        counted: See there.
        layout: All times in ms since the epoch, then all values, as `Columns` has them.
        counting: Name and place of those that count; none where `counted` is None.
        distinct: None of these is there twice.
        count_at: Where in `layout` the values of those that count are.
    """

    __slots__ = ("count_at", "counted", "counting", "distinct", "layout", "names", "types")

    def __init__(self, names: tuple[str, ...], types: str, counted: tuple[int, ...] | None) -> None:
        self.names = names
        self.types = types
        self.counted = counted
        self.layout = struct.Struct(f"<{len(names)}q{types}")
        self.counting = tuple((names[place], place) for place in counted or ())
        self.distinct = len(dict(self.counting)) == len(self.counting)
        self.count_at = tuple(struct.calcsize(f"<{len(names)}q{types[:place]}") for place in counted or ())


class Columns(NamedTuple):
    """The readings of a pack as the quick decoder has them: an object for each is made only for those who ask.

    Packed at once, since a pack waits for the disk beside hundreds of others: bytes lie together where 16 numbers would lie scattered.

    Attributes:
        form: What they are called.
        numbers: Times and values, as `form.layout` says.
        counts: Name, raw count and time in ms since the epoch of those that count since the node's boot.
        newest_ms: The latest time.
    """

    form: Form
    numbers: bytes
    counts: list[tuple[str, int, int]]
    newest_ms: int

    @classmethod
    def of(cls, form: Form, times: Sequence[int], values: Sequence[Value]) -> Columns:
        """Columns of so many times in ms since the epoch and values."""
        counts = [(name, int(values[place]), times[place]) for name, place in form.counting]
        return cls(form, form.layout.pack(*times, *values), counts, max(times))
