"""Breadcrumbs, loop lag, largest block and the watchdog's judgement, on the MicroPython VM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from parts import require_part

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
VM = Path(sys.executable).with_name("micropython")


def run(program: str, folder: Path) -> Any:
    """Run a program on the VM, in a folder; it leaves its result in `result`."""
    require_part("micropython", found=VM.exists(), how="make dev")
    done = subprocess.run(
        [str(VM), "-X", "heapsize=128k", "-c", f"{program}\nimport json\nprint(json.dumps(result))"],
        cwd=folder,
        env={**os.environ, "MICROPYPATH": f"{FIRMWARE}:{FIRMWARE / 'sim'}:.frozen"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# What the chip says, what the last start left, what the node concludes.
CAUSES = [
    (1, "", ["power-on", ""]),
    (1, "running", ["power-loss", ""]),
    (1, "reset: update to 1.1.0", ["power-on", ""]),
    (2, "reset: update to 1.1.0", ["reset", "update to 1.1.0"]),
    (2, "crash: ValueError('x',)", ["crash", "ValueError('x',)"]),
    (2, "running", ["panic", ""]),
    (3, "running", ["watchdog", ""]),
    (3, "watchdog: no progress of sampler", ["watchdog", "no progress of sampler"]),
    (4, "running", ["deep-sleep", ""]),
    (5, "running", ["reset", "soft"]),
]


@pytest.mark.parametrize(("chip", "left", "told"), CAUSES)
def test_cause_of_a_start(tmp_path: Path, chip: int, left: str, told: list[str]) -> None:
    if left:
        (tmp_path / "crumb.txt").write_text(left)
    program = f"""
import machine
machine._cause = {chip}
from andon_base import crumbs
crumbs.read()
result = [crumbs.cause, crumbs.detail]"""
    assert run(program, tmp_path) == told
    assert (tmp_path / "crumb.txt").read_text() == "running"


def test_crumb_costs_no_write_when_nothing_is_new(tmp_path: Path) -> None:
    (tmp_path / "crumb.txt").write_text("running")
    (tmp_path / "crumb.txt").chmod(0o400)
    before = (tmp_path / "crumb.txt").stat().st_ino
    run("from andon_base import crumbs\ncrumbs.read()\nresult = 0", tmp_path)
    assert (tmp_path / "crumb.txt").stat().st_ino == before


def test_loop_lag_in_fixed_memory(tmp_path: Path) -> None:
    program = """
import gc
from andon_node.health import LoopLag
lag = LoopLag()
lag.note(0)
gc.collect()
before = gc.mem_alloc()
for number in range(1000):
    lag.note(700 if number % 200 == 0 else number % 7)
gc.collect()
grown = gc.mem_alloc() - before
lag.close_window()
result = [grown, lag.p99_ms, lag.max_ms, lag.turns]
lag.note(3)
lag.close_window()
result += [lag.p99_ms, lag.max_ms]"""
    grown, p99, worst, turns, next_p99, next_worst = run(program, tmp_path)
    assert grown <= 64
    assert (p99, worst, turns) == (7, 700, 1001)
    assert (next_p99, next_worst) == (3, 3)


def test_largest_block_is_one_that_can_be_had(tmp_path: Path) -> None:
    program = """
import gc
from andon_node.health import largest_block
holes = [bytearray(4096) for _ in range(8)]
for index in range(0, 8, 2):
    holes[index] = None
found = largest_block()
gc.collect()
bytearray(found)
result = [found, gc.mem_free()]
try:
    bytearray(found + 2048)
    result.append("more")
except MemoryError:
    result.append("no more")"""
    found, free, beyond = run(program, tmp_path)
    assert 0 < found <= free
    assert beyond == "no more"


def test_largest_block_on_an_esp32_comes_from_the_system(tmp_path: Path) -> None:
    program = """
import esp32
esp32.HEAP_DATA = 4
esp32.idf_heap_info = lambda kind: [(100, 50, 40, 30), (200, 90, 70, 60)]
from andon_node.health import largest_block
result = largest_block()"""
    assert run(program, tmp_path) == 70


def test_watchdog_names_who_is_stuck_and_nobody_else(tmp_path: Path) -> None:
    program = """
from andon_node.watchdog import Watchdog
class Clock:
    now = 0
    def monotonic_ms(self):
        return self.now
clock = Clock()
progress = [0, 0]
watchdog = Watchdog(clock)
watchdog.watch("sampler", lambda: progress[0], 1000)
watchdog.watch("relays", lambda: progress[1], 5000)
result = []
for step in range(12):
    clock.now += 400
    progress[1] += 1
    if step < 6:
        progress[0] += 1
    result.append(watchdog.stuck())"""
    assert run(program, tmp_path) == [None] * 8 + ["sampler"] * 4
