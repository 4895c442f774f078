"""Packs of numbers on disk: the quick decoder's columns give the same rows as one reading after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cbor2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.senml.pack import SENML_CBOR, decode_pack
from andon_gateway.senml.quick import QuickDecoder
from andon_gateway.spool.database import GroupCommit, open_reader
from andon_gateway.spool.spool import Spool, SpoolLimits, read_after

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from andon_gateway.senml.pack import Pack

NOW = 1_764_000_000_000
NAMES = [
    "temperature/0",
    "temperature/1",
    "pressure/0",
    "cycles/0",
    "cycles/1",
    "energy/0",
    "meter/0",
    "node/heap_free",
]
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.just(-0.0)
COUNTS = st.integers(0, 60) | st.integers(0, 2**63 - 1)


def record(name: str) -> st.SearchStrategy[dict[int, object]]:
    value = FLOATS if name.partition("/")[0] in {"temperature", "pressure"} else COUNTS
    return st.fixed_dictionaries(
        {0: st.just(name), 2: value, 6: st.integers(0, 3000).map(lambda ms: cbor2.CBORTag(4, [-3, ms]))}
    )


@st.composite
def payloads(draw: st.DrawFn) -> list[bytes]:
    """Packs of one node over a few boots, some of them twice, most of them of one shape."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=6))
    packs = []
    for number in range(draw(st.integers(1, 8))):
        age = draw(st.integers(-20_000, 5_000))
        head = {-2: "press-7/", -3: cbor2.CBORTag(4, [-3, NOW + age]), 0: "boot", 2: draw(st.integers(1, 3))}
        packs.append(cbor2.dumps([head, {0: "seq", 2: number}, *(draw(record(name)) for name in names)]))
    return packs + draw(st.lists(st.sampled_from(packs), max_size=2))


class Opened:
    """A spool that answers at once."""

    def __init__(self, path: Path, limits: SpoolLimits | None = None) -> None:
        self.database = GroupCommit(path, lambda call: call())
        self.spool = Spool(self.database, limits)
        self.database.start()

    def append(self, packs: list[Pack]) -> list[bool]:
        news: list[bool] = []
        for pack in packs:
            self.spool.append(pack, NOW, lambda new, error: news.append(bool(new)) if error is None else None)
        self.database.run(lambda _connection: None).result(30)
        assert len(news) == len(packs), "not taken"
        return news

    def rows(self) -> list[str]:
        reader = open_reader(self.database.path)
        try:
            # `repr`, since 1 is not 1.0 in a store, nor 0.0 -0.0
            return [repr((pack.node, pack.boot, pack.readings)) for pack in read_after(reader, 0, 10_000)]
        finally:
            reader.close()

    def query(self, text: str) -> int:
        return self.database.run(lambda connection: int(connection.execute(text).fetchone()[0])).result(30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=payloads())
def test_columns_and_single_readings_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, sent: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    quick = QuickDecoder()
    for payload in sent:
        quick.decode(payload, NOW)  # learns the shapes
    columns = [quick.decode(payload, NOW) or decode_pack(payload, SENML_CBOR, NOW) for payload in sent]
    single = [decode_pack(payload, SENML_CBOR, NOW) for payload in sent]
    by_columns, one_by_one = Opened(folder / "columns.sqlite3"), Opened(folder / "single.sqlite3")
    try:
        assert by_columns.append(columns) == one_by_one.append(single)
        assert by_columns.rows() == one_by_one.rows()
    finally:
        by_columns.database.close()
        one_by_one.database.close()


def usual(count: int) -> list[bytes]:
    """Packs of a node as it writes them."""
    return [
        cbor2.dumps([
            {-2: "press-7/", -3: cbor2.CBORTag(4, [-3, NOW + seq]), 0: "boot", 2: 1}, {0: "seq", 2: 100 + seq},
            {0: "temperature/0", 1: "Cel", 2: 41.5, 6: 0}, {0: "cycles/0", 1: "count", 2: 1000 + seq, 6: 0},
        ])
        for seq in range(count)
    ]  # fmt: skip


def test_rows_of_bytes_count_in_the_quota_and_are_dropped_exactly(tmp_path: Path) -> None:
    quick = QuickDecoder()
    found = [quick.decode(payload, NOW) for payload in usual(101)]
    packs = [pack for pack in found[1:] if pack is not None and pack.columns is not None]
    assert len(packs) == 100, "the quick decoder does not know its own shape"
    opened = Opened(tmp_path / "quota.sqlite3", SpoolLimits(quota_bytes=4000))
    try:
        assert all(opened.append(packs))
        assert opened.query("SELECT count(*) FROM spool WHERE numbers IS NOT NULL") == len(opened.rows())
        kept = opened.query("SELECT sum(length(CAST(readings AS BLOB)) + length(numbers) + 64) FROM spool")
        assert opened.spool.counts["spool_bytes"] == kept <= 4000
        assert opened.spool.counts["dropped_packs"] == 100 - len(opened.rows())
        assert opened.spool.counts["dropped_readings"] == 2 * opened.spool.counts["dropped_packs"]
        opened.spool.remove([row for (row,) in open_reader(opened.database.path).execute("SELECT id FROM spool")])
        assert opened.spool.counts["spool_bytes"] == 0
    finally:
        opened.database.close()
