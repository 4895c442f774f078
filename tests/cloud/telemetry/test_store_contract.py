"""What every telemetry store does, whatever is behind it."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from andon_cloud.telemetry.store import (
    Aggregate,
    FieldTypeConflictError,
    LinesRejectedError,
    Precision,
    RangeQuery,
    Sample,
    Series,
    TelemetryStore,
    TooManySamplesError,
    Value,
)

T0 = 1_764_000_000_000
MINUTE = 60_000


def flat(found: list[Series]) -> dict[tuple[str, str], list[tuple[int, Value]]]:
    """Field and channel -> samples, for comparing without order."""
    return {
        (series.field, series.tags.get("channel", "")): [(sample.time_ms, sample.value) for sample in series.samples]
        for series in found
    }


async def write(store: TelemetryStore, text: str, precision: Precision = Precision.MS) -> None:
    await store.write(text.encode(), precision)


async def test_an_empty_store_answers_with_nothing(store: TelemetryStore) -> None:
    assert await store.latest("temperature") == []
    assert await store.range(RangeQuery("temperature", 0, T0)) == []
    assert await store.healthy()


async def test_a_sample_comes_back_with_its_tags_and_type(store: TelemetryStore) -> None:
    await write(store, f'm,machine=press-7,site=demo f=1.5,i=7i,u=8u,b=true,s="crc, \\"x\\"",e="" {T0}')
    found = {series.field: series for series in await store.range(RangeQuery("m", T0, T0 + 1))}
    assert {field: series.samples for field, series in found.items()} == {
        "f": [Sample(T0, 1.5)],
        "i": [Sample(T0, 7)],
        "u": [Sample(T0, 8)],
        "b": [Sample(T0, True)],
        "s": [Sample(T0, 'crc, "x"')],
        "e": [Sample(T0, "")],
    }
    assert {type(series.samples[0].value) for series in found.values()} == {float, int, bool, str}
    assert dict(found["f"].tags) == {"machine": "press-7", "site": "demo"}
    assert found["f"].measurement == "m"


async def test_the_order_of_tags_does_not_make_another_series(store: TelemetryStore) -> None:
    await write(store, f"m,a=1,b=2 v=1 {T0}\nm,b=2,a=1 v=2 {T0 + 1}")
    (series,) = await store.range(RangeQuery("m", T0, T0 + 10))
    assert series.samples == [Sample(T0, 1.0), Sample(T0 + 1, 2.0)]


async def test_names_with_special_characters_come_back(store: TelemetryStore) -> None:
    await write(store, f'a\\ b\\,c,k\\=1=v\\ \\,\\=ü$"{{x}},p=C:\\x f\\ 1=1 {T0}')
    (series,) = await store.latest("a b,c", {"k=1": 'v ,=ü$"{x}'})
    assert series.field == "f 1"
    assert dict(series.tags) == {"k=1": 'v ,=ü$"{x}', "p": "C:\\x"}


async def test_the_same_point_again_changes_nothing(store: TelemetryStore) -> None:
    for _ in range(3):
        await write(store, f"m v=1 {T0}\nm v=2 {T0 + 1}\nm v=1 {T0}")
    assert flat(await store.range(RangeQuery("m", T0, T0 + 10))) == {("v", ""): [(T0, 1.0), (T0 + 1, 2.0)]}


async def test_a_point_replaces_the_fields_it_names_and_no_others(store: TelemetryStore) -> None:
    await write(store, f"m a=1,b=1 {T0}")
    await write(store, f"m b=2,c=2 {T0}")
    found = flat(await store.range(RangeQuery("m", T0, T0 + 1)))
    assert found == {("a", ""): [(T0, 1.0)], ("b", ""): [(T0, 2.0)], ("c", ""): [(T0, 2.0)]}
    assert flat(await store.latest("m")) == found


async def test_the_last_of_equal_points_in_one_body_wins(store: TelemetryStore) -> None:
    await write(store, f"m v=1 {T0}\nm v=2 {T0}")
    assert flat(await store.latest("m")) == {("v", ""): [(T0, 2.0)]}


async def test_a_range_holds_its_start_and_not_its_stop(store: TelemetryStore) -> None:
    await write(store, "\n".join(f"m v={n} {T0 + n}" for n in range(5)))
    assert flat(await store.range(RangeQuery("m", T0 + 1, T0 + 3))) == {("v", ""): [(T0 + 1, 1.0), (T0 + 2, 2.0)]}
    assert await store.range(RangeQuery("m", T0 + 3, T0 + 3)) == []
    assert await store.range(RangeQuery("m", T0 + 3, T0)) == []


async def test_samples_come_oldest_first_whatever_the_order_of_arrival(store: TelemetryStore) -> None:
    for n in (3, 1, 2, 0):
        await write(store, f"m v={n} {T0 + n}")
    (series,) = await store.range(RangeQuery("m", T0, T0 + 10))
    assert [sample.value for sample in series.samples] == [0.0, 1.0, 2.0, 3.0]


async def test_times_before_1970_are_kept(store: TelemetryStore) -> None:
    await write(store, "m v=1 -1500")
    query = RangeQuery("m", -2000, 0, window_ms=1000, aggregate=Aggregate.LAST)
    assert flat(await store.range(query)) == {("v", ""): [(-2000, 1.0)]}


@pytest.mark.parametrize(
    ("precision", "stamp"),
    [(Precision.NS, T0 * 10**6), (Precision.US, T0 * 1000), (Precision.MS, T0), (Precision.S, T0 // 1000)],
)
async def test_timestamps_in_each_precision(store: TelemetryStore, precision: Precision, stamp: int) -> None:
    await write(store, f"m v=1 {stamp}", precision)
    assert flat(await store.latest("m")) == {("v", ""): [(T0, 1.0)]}


async def test_a_gzip_body_is_stored_like_a_plain_one(store: TelemetryStore) -> None:
    await store.write(gzip.compress(f"m v=1 {T0}".encode()), Precision.MS, "gzip")
    assert flat(await store.latest("m")) == {("v", ""): [(T0, 1.0)]}


async def test_tags_and_fields_select(store: TelemetryStore) -> None:
    await write(
        store,
        f"m,machine=a,channel=0 v=1,w=1 {T0}\nm,machine=a,channel=1 v=2 {T0}\nm,machine=b,channel=2 v=3 {T0}\n"
        f"n,machine=a,channel=3 v=4 {T0}",
    )
    assert {channel for _, channel in flat(await store.latest("m", {"machine": "a"}))} == {"0", "1"}
    assert flat(await store.latest("m", {"machine": "a", "channel": "1"})) == {("v", "1"): [(T0, 2.0)]}
    assert await store.latest("m", {"machine": "c"}) == []
    assert await store.latest("m", {"nothing": "a"}) == []
    query = RangeQuery("m", T0, T0 + 1, fields=("w",), tags={"machine": "a"})
    assert flat(await store.range(query)) == {("w", "0"): [(T0, 1.0)]}
    both = RangeQuery("m", T0, T0 + 1, fields=("v", "w"), tags={"channel": "0"})
    assert flat(await store.range(both)) == {("v", "0"): [(T0, 1.0)], ("w", "0"): [(T0, 1.0)]}


async def test_latest_is_the_newest_by_its_own_time(store: TelemetryStore) -> None:
    await write(store, f"m,channel=0 v=2 {T0 + 5}\nm,channel=1 v=1 {T0}")
    await write(store, f"m,channel=0 v=1 {T0}")
    assert flat(await store.latest("m")) == {("v", "0"): [(T0 + 5, 2.0)], ("v", "1"): [(T0, 1.0)]}


async def test_latest_sees_a_clock_that_runs_ahead(store: TelemetryStore) -> None:
    year_2200 = 7_258_118_400_000
    await write(store, f"m v=1 {year_2200}")
    assert flat(await store.latest("m")) == {("v", ""): [(year_2200, 1.0)]}


WINDOWS = f"m v=1,i=1i {T0 + 1000}\nm v=4,i=4i {T0 + 2000}\nm v=1,i=2i {T0 + 3000}\nm v=7,i=7i {T0 + 2 * MINUTE}"


@pytest.mark.parametrize(
    ("aggregate", "floats", "integers"),
    [
        (Aggregate.MEAN, (2.0, 7.0), (7 / 3, 7.0)),
        (Aggregate.MIN, (1.0, 7.0), (1, 7)),
        (Aggregate.MAX, (4.0, 7.0), (4, 7)),
        (Aggregate.LAST, (1.0, 7.0), (2, 7)),
        (Aggregate.SUM, (6.0, 7.0), (7, 7)),
        (Aggregate.COUNT, (3, 1), (3, 1)),
    ],
)
async def test_windows_hold_one_sample_stamped_with_their_start(
    store: TelemetryStore, aggregate: Aggregate, floats: tuple[Value, Value], integers: tuple[Value, Value]
) -> None:
    assert T0 % MINUTE == 0
    await write(store, WINDOWS)
    found = flat(await store.range(RangeQuery("m", T0, T0 + 3 * MINUTE, window_ms=MINUTE, aggregate=aggregate)))
    times = (T0, T0 + 2 * MINUTE)
    assert found[("v", "")] == [*zip(times, floats, strict=True)]
    assert found[("i", "")] == [*zip(times, integers, strict=True)]
    assert [type(value) for _, value in found[("i", "")]] == [type(value) for value in integers]


async def test_a_range_that_cuts_a_window_takes_only_its_own_samples(store: TelemetryStore) -> None:
    await write(store, WINDOWS)
    query = RangeQuery("m", T0 + 1500, T0 + 2500, ("v",), window_ms=MINUTE, aggregate=Aggregate.SUM)
    assert flat(await store.range(query)) == {("v", ""): [(T0, 4.0)]}


@pytest.mark.parametrize("aggregate", [Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX, Aggregate.SUM])
async def test_numeric_aggregates_leave_other_fields_out(store: TelemetryStore, aggregate: Aggregate) -> None:
    await write(store, f'm v=1,i=1i,s="x",b=true {T0}')
    found = await store.range(RangeQuery("m", T0, T0 + MINUTE, window_ms=MINUTE, aggregate=aggregate))
    assert {series.field for series in found} == {"v", "i"}


async def test_last_and_count_work_on_every_type(store: TelemetryStore) -> None:
    await write(store, f'm s="x",b=true {T0}\nm s="y",b=false {T0 + 1}')
    last = await store.range(RangeQuery("m", T0, T0 + MINUTE, window_ms=MINUTE, aggregate=Aggregate.LAST))
    assert flat(last) == {("s", ""): [(T0, "y")], ("b", ""): [(T0, False)]}
    count = await store.range(RangeQuery("m", T0, T0 + MINUTE, window_ms=MINUTE, aggregate=Aggregate.COUNT))
    assert flat(count) == {("s", ""): [(T0, 2)], ("b", ""): [(T0, 2)]}


@pytest.mark.parametrize("compressed", [False, True])
async def test_bad_lines_are_named_and_the_good_ones_stored(store: TelemetryStore, compressed: bool) -> None:  # noqa: FBT001  # pytest passes by name
    body = f'm v=1 {T0}\nbad\n# comment\n\nm v=1e400 {T0}\nm s="a\nb" {T0}\nm v="open {T0}\nm v=2 {T0 + 1}\n'.encode()
    with pytest.raises(LinesRejectedError) as caught:
        await store.write(
            gzip.compress(body) if compressed else body, Precision.MS, "gzip" if compressed else "identity"
        )
    assert [error.line for error in caught.value.lines] == [2, 5, 8]
    assert all(error.reason for error in caught.value.lines)
    assert not isinstance(caught.value, FieldTypeConflictError)
    found = flat(await store.range(RangeQuery("m", T0, T0 + 10)))
    assert found == {("v", ""): [(T0, 1.0), (T0 + 1, 2.0)], ("s", ""): [(T0, "a\nb")]}


async def test_a_body_of_bad_lines_only_stores_nothing(store: TelemetryStore) -> None:
    with pytest.raises(LinesRejectedError):
        await write(store, "bad\nworse")
    assert await store.latest("bad") == []


async def test_another_type_is_refused_and_the_good_lines_stored(store: TelemetryStore) -> None:
    await write(store, f"m v=1 {T0}")
    with pytest.raises(
        FieldTypeConflictError, match=r'input field "v" on measurement "m" is type integer, already exists'
    ):
        await write(store, f"m v=2i,w=1 {T0 + 1}\nm v=3 {T0 + 2}")
    assert flat(await store.range(RangeQuery("m", T0, T0 + 10))) == {("v", ""): [(T0, 1.0), (T0 + 2, 3.0)]}


async def test_more_samples_than_the_limit_are_an_error(store: TelemetryStore) -> None:
    await write(store, "\n".join(f"m,channel={n % 2} v={n} {T0 + n}" for n in range(6)))
    assert len(await store.range(RangeQuery("m", T0, T0 + 10, limit=6))) == 2
    for limit in (2, 5):
        with pytest.raises(TooManySamplesError, match=f"more than {limit} samples"):
            await store.range(RangeQuery("m", T0, T0 + 10, limit=limit))
    windows = RangeQuery("m", T0, T0 + 10, window_ms=MINUTE, limit=2)
    assert len(await store.range(windows)) == 2


async def test_an_empty_body_is_no_error(store: TelemetryStore) -> None:
    await write(store, "")
    await write(store, "\n# nothing\n")


async def test_many_writers_at_once_lose_nothing(store: TelemetryStore) -> None:
    await asyncio.gather(
        *(write(store, "\n".join(f"m,channel={w} v={n} {T0 + n}" for n in range(50))) for w in range(20))
    )
    found = flat(await store.range(RangeQuery("m", T0, T0 + 50)))
    assert len(found) == 20
    assert all([value for _, value in samples] == [float(n) for n in range(50)] for samples in found.values())
