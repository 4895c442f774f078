"""The preloaded clock: all ways of waiting take the asked time on it, in every process, and little of the real one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from parts import require_part

from andon_workbench.board import find_micropython
from andon_workbench.soak.fast_clock import FastClock, build, environment, find_compiler
from andon_workbench.soak.turns import Turns

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


TURNS = """
import asyncio, sys, time
async def main():
    while True:
        await asyncio.sleep_ms(1000)
        what = sys.stdin.readline().strip()
        if what == "sleep":
            time.sleep(20)
        if what == "end":
            return
        print(time.ticks_us())
asyncio.run(main())
"""


async def test_a_process_that_the_host_stops_is_told_from_one_that_sleeps(library: Path, tmp_path: Path) -> None:
    settings = environment(library, RATE, 0, tmp_path)
    board = await asyncio.create_subprocess_exec(
        find_micropython(), "-c", TURNS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **settings}
    )
    assert board.stdin is not None
    assert board.stdout is not None

    async def after(what: str) -> int:
        """The board's clock after one more turn."""
        assert board.stdin is not None
        assert board.stdout is not None
        board.stdin.write(f"{what}\n".encode())
        return int(await asyncio.wait_for(board.stdout.readline(), 60))

    try:
        began_us = await after("go on")
        os.kill(board.pid, signal.SIGSTOP)
        board.stdin.write(b"go on\n")
        await asyncio.sleep(0.3)
        os.kill(board.pid, signal.SIGCONT)
        stopped_us = int(await asyncio.wait_for(board.stdout.readline(), 60))
        slept_us = await after("sleep")
        await after("go on")
        board.stdin.write(b"end\n")
        await asyncio.wait_for(board.wait(), 60)
    finally:
        if board.returncode is None:
            board.kill()
            await board.wait()
    turns = Turns.read([tmp_path / str(board.pid), tmp_path / "none"])
    second_us = 1_000_000
    # Of the 30 s on the fast clock the board asked to wait one second, and of the turn before the last ticks it knows no more.
    assert turns.kept_us(began_us, stopped_us) >= 0.3 * RATE * second_us - 2 * second_us
    assert slept_us - stopped_us >= 20 * second_us
    assert turns.kept_us(stopped_us, slept_us) <= slept_us - stopped_us - 20 * second_us
