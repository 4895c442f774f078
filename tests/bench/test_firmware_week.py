"""The node's heap stays as it is: 90 simulated minutes on a clock that jumps, so that no load of the machine is in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from micropython32 import micropython32  # noqa: F401 - a fixture
from parts import require_part

from andon_workbench.board import Vm, find_micropython
from andon_workbench.errors import MissingPartError

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "firmware_week.py"


@pytest.fixture(scope="module")
def week() -> ModuleType:
    try:
        there = find_micropython().is_file()
    except MissingPartError:
        there = False
    require_part("micropython", found=there, how="make dev")
    spec = importlib.util.spec_from_file_location("firmware_week", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def console(*, leak_per_command: int) -> str:
    """What a board would say: a command every ten minutes, 560 bytes for each of the first 16."""
    lines = []
    for minute in range(1, 24 * 60):
        done = minute // 10
        live = 150_000 + 560 * min(done, 16) + leak_per_command * done + minute % 7 * 100
        lines.append(f"live {minute * 60_000} {live} {minute * 6} {minute * 6} {done} {done}")
    return "start 0\nnode: press-1 boot 1\n" + "\n".join(lines)


def test_a_leak_per_command_is_told_from_memories_that_fill(week: ModuleType) -> None:
    good, bad = week.judge(console(leak_per_command=0)), week.judge(console(leak_per_command=10))
    assert abs(good["slope_bytes_per_hour"]) <= 3 * good["slope_standard_error"]
    assert bad["slope_bytes_per_hour"] == pytest.approx(60, abs=6)
    assert bad["slope_bytes_per_hour"] > 3 * bad["slope_standard_error"]


def test_a_start_counts_from_zero_and_the_run_goes_on(week: ModuleType) -> None:
    found = week.judge("start 0\nlive 60000 500 6 60 3 2\nstart 120000\nlive 180000 400 5 50 1 1\n")
    assert (found["starts"], found["packs"], found["temperatures"]) == (2, 11, 110)
    assert (found["commands"], found["commands_executed"], found["live_max"]) == (4, 3, 500)


def test_a_week_is_two_starts_where_ticks_begin_anew(week: ModuleType) -> None:
    assert week.starts(168, Vm.BITS_64) == [(0, 604_800_000)]
    assert week.starts(168, Vm.BITS_32) == [(0, 302_400_000), (302_400_000, 604_800_000)]
    # ticks_diff of MicroPython tells past from future over half of 2**30 ms.
    assert all(end - begin < 1 << 29 for begin, end in week.starts(1000, Vm.BITS_32))


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("micropython32")
def test_two_hours_at_a_sample_a_second_in_128_kib_with_words_of_a_chip(week: ModuleType) -> None:
    found = week.run(hours=2, sample_s=1, loss=0.1, command_every_s=60, vm=Vm.BITS_32)
    assert found["heap"] == "128k"
    assert found["hours"] >= 2
    assert found["temperatures"] >= 2 * 3600
    assert found["commands"] > 60
    # The last one may be under way.
    assert found["commands"] - found["commands_executed"] <= 1
    assert found["memory_errors"] == 0
    assert found["live_max"] < 128 * 1024 * 3 // 4


@pytest.mark.timeout(400)
def test_ninety_minutes_with_keys_commands_loss_and_outages(week: ModuleType) -> None:
    found = week.run(hours=1.5, sample_s=10, loss=0.1, command_every_s=60)
    assert found["hours"] >= 1.5
    assert found["packs"] > 400
    assert found["commands_executed"] > 40
    assert found["memory_errors"] == 0
    least, most = found["live_with_full_memories"]
    # What a leak of 100 bytes per command or of ten per pack would exceed; what is under way differs by less.
    assert most - least < 6000
    assert found["slope_bytes_per_hour"] < 200 + 3 * found["slope_standard_error"]
