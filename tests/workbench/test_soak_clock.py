"""The preloaded clock: all ways of waiting take the asked time on it, in every process, and little of the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from parts import require_part

from andon_workbench.board import find_micropython
from andon_workbench.soak.fast_clock import FastClock, build, environment, find_compiler

if TYPE_CHECKING:
    from pathlib import Path

RATE = 100

WAITS = """
import asyncio, json, queue, select, subprocess, sys, threading, time

def timed(wait):
    began = time.monotonic()
    wait()
    return time.monotonic() - began

def from_queue():
    try:
        queue.SimpleQueue().get(timeout=10)
    except queue.Empty:
        pass

taken = {
    "sleep": timed(lambda: time.sleep(10)),
    "select": timed(lambda: select.select([], [], [], 10)),
    "poll": timed(lambda: select.poll().poll(10_000)),
    "epoll": timed(lambda: select.epoll().poll(10)),
    "asyncio": timed(lambda: asyncio.run(asyncio.sleep(10))),
    "event": timed(lambda: threading.Event().wait(10)),
    "queue": timed(from_queue),
}
before = time.monotonic_ns()
child = int(subprocess.run([sys.executable, "-c", "import time; print(time.monotonic_ns())"], capture_output=True).stdout)
first_us, offset_ms, last_us = time.monotonic_ns() // 1000, time.time_ns() / 1e6, time.monotonic_ns() // 1000
print(json.dumps({"taken": taken, "child_between": before < child < time.monotonic_ns(),
    "offset_ms": offset_ms, "first_us": first_us, "last_us": last_us}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_part("cc", found=find_compiler() is not None, how="make deps-test")
    return build(tmp_path_factory.mktemp("clock"))


def run(arguments: list[str], settings: dict[str, str]) -> str:
    done = subprocess.run(
        arguments, env={**os.environ, **settings}, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout


def test_every_wait_of_cpython_lasts_as_asked_on_the_fast_clock(library: Path) -> None:
    settings = environment(library, RATE, 0)
    began = time.monotonic()
    found = json.loads(run([sys.executable, "-c", WAITS], settings))
    real_s = time.monotonic() - began
    waits = found["taken"]
    assert all(taken >= 10 for taken in waits.values()), waits
    assert real_s < 10 * len(waits) / 2, "the waits took real time"
    assert found["child_between"]


def test_epoch_and_monotonic_time_run_together(library: Path) -> None:
    settings = environment(library, RATE, 0)
    words = [int(word) for word in settings["ANDON_FAST_CLOCK"].split()]
    found = json.loads(run([sys.executable, "-c", WAITS], settings))
    clock = FastClock(words[0], words[1], words[2])
    # However long the machine took between the readings, the one in the middle is between the others.
    assert clock.epoch_ms(found["first_us"]) - 1 <= found["offset_ms"] <= clock.epoch_ms(found["last_us"]) + 1


def test_micropython_lives_on_the_same_clock_and_waits_for_a_tick_at_least(library: Path) -> None:
    code = (
        "import asyncio, time\n"
        "async def main():\n"
        "    a = time.ticks_ms()\n"
        "    await asyncio.sleep_ms(5000)\n"
        "    b = time.ticks_ms()\n"
        "    await asyncio.sleep_ms(20)\n"
        "    print(time.ticks_diff(b, a), time.ticks_diff(time.ticks_ms(), b))\n"
        "asyncio.run(main())\n"
    )
    long_ms, short_ms = map(int, run([str(find_micropython()), "-c", code], environment(library, RATE, 2000)).split())
    assert long_ms >= 5000
    assert 2000 <= short_ms < 600_000
