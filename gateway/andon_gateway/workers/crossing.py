"""Packs as built-in types, to cross between processes. Pure.

What all packs of a shape share crosses once, with the first of them, and is one object at the other end as well; so both ends belong to one stream.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from andon_gateway.senml.columns import Columns, Form
from andon_gateway.senml.pack import Pack, Reading

Packed = tuple[Any, ...]
MOST_FORMS: Final = 1 << 12
"""Packs of further shapes cross reading by reading."""
_NONE_REJECTED: Final[Counter[str]] = Counter()
"""Shared: nobody adds to what a decoder has counted."""


class Packer:
    """The sending end."""

    def __init__(self) -> None:
        self._forms: dict[Form, int] = {}

    def pack_up(self, pack: Pack) -> Packed:
        """The pack as a tuple."""
        rejected = (dict(pack.rejected), pack.future_ms) if pack.rejected else None
        identity = pack.node, pack.boot, pack.seq, rejected
        columns = pack.columns
        if columns is not None:
            form, numbers, of_counters, newest_ms = columns
            number, first = self._forms.get(form), None
            if number is None and len(self._forms) < MOST_FORMS:
                number = self._forms[form] = len(self._forms)
                first = form.names, form.types, form.counted
            if number is not None:
                return *identity, number, first, numbers, of_counters, newest_ms
        return *identity, None, [tuple(reading) for reading in pack.readings], pack.counted


class Unpacker:
    """The receiving end."""

    def __init__(self) -> None:
        self._forms: list[Form] = []

    def unpack(self, packed: Packed) -> Pack:
        """The inverse of `Packer.pack_up`; packs come in the order in which they were packed."""
        node, boot, seq, rejected, number, *rest = packed
        counts = Counter(rejected[0]) if rejected else _NONE_REJECTED
        if number is None:
            readings, counted = rest
            pack = Pack(node, boot, seq, list(map(Reading._make, readings)), counts, counted)
            if rejected and rejected[1] is not None:
                pack.future_ms = rejected[1]
            return pack
        first, numbers, of_counters, newest_ms = rest
        if first is not None:
            self._forms.append(Form(*first))
        form = self._forms[number]
        return Pack(node, boot, seq, None, counts, form.counted, Columns(form, numbers, of_counters, newest_ms))
