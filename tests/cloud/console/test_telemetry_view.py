from __future__ import annotations

from andon_cloud.console.rates import Point
from andon_cloud.console.telemetry_view import newest_by_machine, points_by_channel, readings_per_s, settle
from andon_cloud.telemetry.store import Sample, Series, Value


def series(
    measurement: str,
    field: str,
    *samples: tuple[int, Value],
    machine: str = "press-7",
    node: str = "n1",
    channel: str | None = "0",
    line: str = "l1",
) -> Series:
    tags = {"machine": machine, "node": node, "line": line} | ({"channel": channel} if channel else {})
    return Series(measurement, field, tags, [Sample(*sample) for sample in samples])


def test_latest_samples_find_their_machines() -> None:
    newest = newest_by_machine(
        [
            series("temperature", "celsius", (1000, 41.5)),
            series("temperature", "celsius", (1000, 20.0), machine="mill-2", node="n2"),
        ],
        [series("cycles", "total", (1500, 77))],
        [series("relay", "on", (900, True)), series("relay", "on", (900, False), channel="1")],
        [series("node", "rssi", (2500, -60), channel=None)],
    )
    press = newest["press-7"]
    assert press.temperature == Point(1000, 41.5)
    assert press.cycles == Point(1500, 77)
    assert press.contacts == {0: True, 1: False}
    assert press.last_seen_ms == 2500
    assert press.sensor_fault is None
    assert newest["mill-2"].temperature == Point(1000, 20.0)
    assert newest["mill-2"].cycles is None


def test_the_lowest_channel_stands_for_the_machine() -> None:
    both = [
        series("temperature", "celsius", (9000, 90.0), channel="10"),
        series("temperature", "celsius", (1000, 41.5), channel="2"),
    ]
    assert newest_by_machine(both, [], [], [])["press-7"].temperature == Point(1000, 41.5)


def test_of_two_nodes_the_one_that_reported_last_counts() -> None:
    replaced = [
        series("temperature", "celsius", (1000, 30.0), node="old"),
        series("temperature", "celsius", (5000, 50.0), node="new"),
    ]
    newest = newest_by_machine(replaced, [], [], [])["press-7"]
    assert newest.temperature == Point(5000, 50.0)
    assert newest.temperature_channel == ("press-7", "new", "0")


def test_a_fault_lasts_until_ok() -> None:
    def fault(value: str) -> str | None:
        return newest_by_machine([series("temperature", "fault", (1, value))], [], [], [])["press-7"].sensor_fault

    assert fault("crc") == "crc"
    assert fault("ok") is None


def test_a_machine_that_moved_keeps_one_history() -> None:
    found = [
        series("temperature", "celsius", (3000, 3.0), (4000, 4.0), line="l2"),
        series("temperature", "celsius", (1000, 1.0), (2000, 2.0), line="l1"),
    ]
    (points,) = points_by_channel(found, "celsius").values()
    assert [point.time_ms for point in points] == [1000, 2000, 3000, 4000]


def test_windows_are_stamped_with_their_end_and_the_newest_reading_ends_the_line() -> None:
    windows = [Point(0, 5), Point(10_000, 8), Point(20_000, 9)]
    assert settle(windows, 10_000, Point(24_000, 9)) == [Point(10_000, 5), Point(20_000, 8), Point(24_000, 9)]
    assert settle(windows, 10_000, None) == [Point(10_000, 5), Point(20_000, 8), Point(30_000, 9)]


def test_counts_become_a_rate() -> None:
    counted = [series("temperature", "celsius", (0, 10), (10_000, 20)), series("cycles", "total", (0, 30))]
    assert readings_per_s(counted, 30) == 2.0
