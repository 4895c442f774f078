"""The node's heap stays as it is: 90 simulated minutes on a clock that jumps, so that no load of the machine is in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from parts import require_part

from andon_workbench.board import find_micropython
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
