from __future__ import annotations

from andon_cloud.telemetry.relay_readings import RelayReading, relay_readings
from andon_cloud.telemetry.store import Precision

T0 = 1_764_000_000_000
LINE = "relay,area=a1,channel=1,line=l1,machine=press-7,node=n-7,site=demo on={on} {time}"


def read(text: str, precision: Precision = Precision.MS) -> list[RelayReading]:
    return relay_readings(text.encode(), precision, now_ns=T0 * 10**6)


def test_readings_come_in_the_order_of_the_body() -> None:
    text = "\n".join(
        [
            "temperature,machine=press-7,node=n-7,channel=1 celsius=1",
            LINE.format(on="true", time=T0),
            "  " + LINE.format(on="F", time=T0 + 1),
        ]
    )
    assert read(text) == [
        RelayReading("press-7", "n-7", 1, on=True, time_ms=T0),
        RelayReading("press-7", "n-7", 1, on=False, time_ms=T0 + 1),
    ]


def test_precision_and_missing_time() -> None:
    assert read(LINE.format(on="true", time=T0 // 1000), Precision.S)[0].time_ms == T0
    assert read(LINE.format(on="true", time=""))[0].time_ms == T0


def test_what_is_no_relay_reading_is_passed_over() -> None:
    assert read("") == []
    assert read("relay2,machine=m,node=n,channel=0 on=true") == []
    assert (
        read("relay,machine=m,node=n on=true\nrelay,machine=m,channel=0 on=true\nrelay,node=n,channel=0 on=true") == []
    )
    assert read("relay,machine=m,node=n,channel=x on=true\nrelay,machine=m,node=n,channel=0 on=1i,off=true") == []
    assert read("relay,machine=m,node=n,channel=0 on=tru\n" + LINE.format(on="true", time=T0)) == [
        RelayReading("press-7", "n-7", 1, on=True, time_ms=T0)
    ]


def test_text_inside_a_string_is_passed_over_too() -> None:
    assert read('note s="\nrelay,machine=m,node=n,channel=0 on=true 5\n" 5') == []
