"""Both stores give the same answers to the same questions about the same data."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_cloud.telemetry.embedded import EmbeddedStore
from andon_cloud.telemetry.influx import InfluxStore
from andon_cloud.telemetry.store import (
    Aggregate,
    LinesRejectedError,
    Precision,
    RangeQuery,
    Series,
    TelemetryStore,
    Value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from influxdb_server import InfluxServer

# Around a midnight and 1970, so that windows are cut on both sides.
_BASES = (0, 1_763_942_400_000)
_OFFSETS = st.integers(-5_000, 5_000)
_TIMES = st.builds(int.__add__, st.sampled_from(_BASES), _OFFSETS)
_POINTS = st.lists(
    st.tuples(
        st.sampled_from(["", ",machine=a", ",machine=b", ",machine=a,channel=0", ",channel=0"]),
        st.one_of(
            st.integers(-1000, 1000).map(lambda n: f"i={n}i"),
            st.integers(-1000, 1000).map(lambda n: f"f={n / 8}"),
            st.booleans().map(lambda b: f"b={str(b).lower()}"),
            st.text("ab \n,=\\", max_size=4).map(lambda text: 's="{}"'.format(text.replace("\\", "\\\\"))),
            st.sampled_from(["f=1i", "i=0.5,f=1", "bad"]),
        ),
        _TIMES,
    ),
    max_size=30,
)
_QUERIES = st.tuples(
    st.sampled_from(_BASES),
    st.tuples(_OFFSETS, _OFFSETS).map(sorted),
    st.sampled_from([(), ("f",), ("i", "s"), ("nothing",)]),
    st.sampled_from([{}, {"machine": "a"}, {"channel": "0"}]),
    st.sampled_from([None, 7, 1000, 3_600_000]),
    st.sampled_from(Aggregate),
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


@pytest.fixture(scope="module")
def pair(
    runner: asyncio.Runner, influxdb_server: InfluxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TelemetryStore, TelemetryStore]]:
    embedded = EmbeddedStore(tmp_path_factory.mktemp("agree") / "t.sqlite", synchronous="OFF")
    influx = InfluxStore(
        influxdb_server.url, influxdb_server.token, influxdb_server.org, influxdb_server.create_bucket()
    )

    async def each(action: Callable[[TelemetryStore], Coroutine[None, None, None]]) -> None:
        await asyncio.gather(action(embedded), action(influx))

    runner.run(each(lambda store: store.open()))
    yield embedded, influx
    runner.run(each(lambda store: store.close()))


_SERIAL = count()


def _comparable(found: list[Series]) -> list[tuple[str, list[tuple[str, str]], list[tuple[int, str, Value]]]]:
    return sorted(
        (
            series.field,
            sorted(series.tags.items()),
            [
                (s.time_ms, type(s.value).__name__, round(s.value, 9) if isinstance(s.value, float) else s.value)
                for s in series.samples
            ],
        )
        for series in found
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(points=_POINTS, queries=st.lists(_QUERIES, min_size=1, max_size=4))
def test_the_same_answers(
    runner: asyncio.Runner,
    pair: tuple[TelemetryStore, TelemetryStore],
    points: list[tuple[str, str, int]],
    queries: list[tuple[int, list[int], tuple[str, ...], dict[str, str], int | None, Aggregate]],
) -> None:
    measurement = f"m{next(_SERIAL)}"
    # The first line fixes the types; InfluxDB would otherwise keep them per shard of time.
    body = "\n".join(
        [f'{measurement} i=0i,f=0,b=false,s="" {time}' for time in (-1, 1, 1_763_942_399_000, 1_763_942_401_000)]
        + [f"{measurement}{tags} {fields} {time}" for tags, fields, time in points]
    )

    async def answers(store: TelemetryStore) -> list[object]:
        refused = None
        try:
            await store.write(body.encode(), Precision.MS)
        except LinesRejectedError as error:
            # Which of two kinds of refusal is told first may differ; that something was refused may not.
            refused = isinstance(error, LinesRejectedError)
        ranges = [
            await store.range(RangeQuery(measurement, base + start, base + stop, fields, tags, window, aggregate))
            for base, (start, stop), fields, tags, window, aggregate in queries
        ]
        latest = await store.latest(measurement)
        return [refused, _comparable(latest), *map(_comparable, ranges)]

    async def both() -> tuple[list[object], list[object]]:
        return await answers(pair[0]), await answers(pair[1])

    ours, theirs = runner.run(both())
    assert ours == theirs
