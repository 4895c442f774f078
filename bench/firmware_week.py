"""Whether the node's heap stays as it is: one emulated board on the fast clock, sampling once a second, with outages; one JSON line.

    .venv/bin/python bench/firmware_week.py [--hours 168] [--speed 30]

The gateway refuses every pack in the last five of every forty minutes, so that packs go to the journal and come back from it.
Reported: the free heap that the node says after a garbage collection, once a pack is not waiting, and its slope by linear regression with the
slope's standard error. Needs Linux and a C compiler, as the soak does (docs/soak.md), which adds keys, commands and power cuts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# In place of this folder, where another file is called `firmware`.
sys.path[0] = str(ROOT / "tests")

from firmware.update.emulated import EmulatedBoard  # noqa: E402 - the path to it is set above
from firmware.update.gateway import Gateway  # noqa: E402 - as above

from andon_workbench.board import HEAPS  # noqa: E402 - as above
from andon_workbench.emulated_parts import emulated_parts  # noqa: E402 - as above
from andon_workbench.ports import lasting_port  # noqa: E402 - as above
from andon_workbench.soak import fast_clock  # noqa: E402 - as above

TICK_MS = 200
OUTAGE_EVERY_S, OUTAGE_S = 2400.0, 300.0
WARM_UP_H = 0.25
# SenML labels [RFC 8428 6].
NAME, VALUE = 0, 2


def regression(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope of (hours, bytes) per hour, and its standard error."""
    hours, free = zip(*points, strict=True)
    fit = statistics.linear_regression(hours, free)
    mean = statistics.fmean(hours)
    spread = sum((hour - mean) ** 2 for hour in hours)
    rest = sum((value - fit.intercept - fit.slope * hour) ** 2 for hour, value in points)
    return fit.slope, (rest / (len(points) - 2) / spread) ** 0.5


def said(pack: list[dict[Any, Any]]) -> dict[str, Any]:
    """Values of a pack by name, of the records that have one."""
    return {str(record.get(NAME, "")): record[VALUE] for record in pack if VALUE in record}


async def run(hours: float) -> dict[str, Any]:
    """Run the board and collect what it says of its heap."""
    points: list[tuple[float, float]] = []
    packs = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with Gateway() as gateway:
            board = EmulatedBoard(folder, emulated_parts(ROOT / "firmware").firmware, gateway.port, lasting_port())
            config = json.loads((folder / "config.json").read_text())
            config |= {"sample_ms": 1000, "cycles": [{"channel": 0, "pin": "IN1"}]}
            (folder / "config.json").write_text(json.dumps(config))
            async with board:
                began = time.monotonic()
                while (ran := time.monotonic() - began) < hours * 3600:
                    await asyncio.sleep(5)
                    gateway.telemetry.closed = ran % OUTAGE_EVERY_S > OUTAGE_EVERY_S - OUTAGE_S
                    taken, gateway.telemetry.packs = gateway.telemetry.packs, []
                    packs += len(taken)
                    for values in map(said, taken):
                        free = [value for name, value in values.items() if name.endswith("heap_free")]
                        idle = any(name.endswith("queued") and not value for name, value in values.items())
                        if free and idle and ran > WARM_UP_H * 3600:
                            points.append((ran / 3600, float(free[0])))
                log = board.console.read_text(errors="replace")
            slope, error = regression(points)
            return {
                "hours": round(ran / 3600, 2),
                "packs": packs,
                "heap": HEAPS["esp32"],
                "samples_of_free_heap": len(points),
                "free_min": min(free for _, free in points),
                "free_median": statistics.median(free for _, free in points),
                "slope_bytes_per_hour": round(slope, 2),
                "slope_standard_error": round(error, 2),
                "memory_errors": log.count("MemoryError"),
                "resets": board.resets,
            }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=168)
    parser.add_argument("--speed", type=int, default=30)
    arguments = parser.parse_args()
    if fast_clock.current() is None:
        library = fast_clock.build(Path(tempfile.mkdtemp(prefix="andon-clock-")))
        fast_clock.enter(sys.argv, fast_clock.environment(library, arguments.speed, TICK_MS))
    try:
        print(json.dumps(asyncio.run(run(arguments.hours))))
    finally:
        fast_clock.remove()


if __name__ == "__main__":
    main()
