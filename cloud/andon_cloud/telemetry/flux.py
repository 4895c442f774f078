"""Flux, InfluxDB 2.x's query language: the queries behind the store interface, as text.

Strings from outside go through `string_literal` only. Language: https://docs.influxdata.com/flux/v0/spec/.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from andon_cloud.telemetry.lineprotocol import MAX_TIME_NS, MIN_TIME_NS
from andon_cloud.telemetry.store import Aggregate, RangeQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

_NS_PER_MS: Final = 1_000_000

# Quotes and backslashes end or change a literal, `${` starts an expression in it, control characters are not allowed.
_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\$\x7f]')


def string_literal(text: str) -> str:
    r"""A Flux string that means exactly `text`: everything with a meaning of its own is written as `\xHH`."""
    escaped = _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return f'"{escaped}"'


def latest_query(bucket: str, measurement: str, tags: Mapping[str, str]) -> str:
    """Newest sample of every field of every series whose tags include `tags`."""
    # An explicit end, because the default is now and the clocks of nodes and server differ.
    return f"{_from(bucket, MIN_TIME_NS, MAX_TIME_NS, measurement, tags, ())}\n  |> last()"


def range_query(bucket: str, query: RangeQuery, *, numbers_only: bool = False) -> str:
    """Samples in a range, aggregated per window if the query says so.

    Args:
        bucket: Where to look.
        query: What to look for; must not be empty (start before stop).
        numbers_only: Leave fields out that hold no numbers. Slower: the storage engine then cannot aggregate itself.
    """
    start, stop = (_clamped(ms * _NS_PER_MS) for ms in (query.start_ms, query.stop_ms))
    text = _from(bucket, start, stop, query.measurement, query.tags, query.fields)
    if numbers_only:
        text = f'import "types"\n{text}\n  |> filter(fn: (r) => types.isNumeric(v: r._value))'
    if query.window_ms is not None:
        text += (
            f"\n  |> aggregateWindow(every: {query.window_ms}ms, fn: {Aggregate(query.aggregate).value}, "
            'createEmpty: false, timeSrc: "_start")'
        )
    if query.limit is not None:
        # Per series; one more than allowed shows that there are more.
        text += f"\n  |> limit(n: {query.limit + 1})"
    return text


def _from(
    bucket: str, start_ns: int, stop_ns: int, measurement: str, tags: Mapping[str, str], fields: tuple[str, ...]
) -> str:
    conditions = [f"r._measurement == {string_literal(measurement)}"]
    conditions += [f"r[{string_literal(key)}] == {string_literal(value)}" for key, value in sorted(tags.items())]
    if fields:
        conditions.append("(" + " or ".join(f"r._field == {string_literal(name)}" for name in fields) + ")")
    return (
        f"from(bucket: {string_literal(bucket)})\n"
        f"  |> range(start: time(v: {start_ns}), stop: time(v: {stop_ns}))\n"
        f"  |> filter(fn: (r) => {' and '.join(conditions)})"
    )


def _clamped(time_ns: int) -> int:
    return min(max(time_ns, MIN_TIME_NS), MAX_TIME_NS)
