"""The emulated hardware where words have 32 bits, as on a chip: ticks begin anew after 2**30, the register file's times do not."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from firmware.micropython_vm import vm_environment
from micropython32 import micropython32  # noqa: F401 - a fixture

from andon_workbench.registers import RegisterFile

if TYPE_CHECKING:
    from pathlib import Path

PERIOD = 1 << 30


def said_by(program: Path, source: str) -> list[int]:
    done = subprocess.run(
        [program, "-c", source], capture_output=True, text=True, timeout=60, check=True, env=vm_environment(sim=True)
    )
    return [int(word) for word in done.stdout.split()]


def test_times_in_the_register_file_are_the_hosts_monotonic_clock(micropython32: Path, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "registers"
    RegisterFile.create(path).close()
    before_us = time.monotonic_ns() // 1000
    (told_us,) = said_by(micropython32, f"import registers\nregisters.attach({str(path)!r})\nprint(registers.now_us())")
    assert before_us <= told_us <= time.monotonic_ns() // 1000


def test_an_interrupt_reads_its_edge_in_ticks(micropython32: Path) -> None:  # noqa: F811
    edges_us = [PERIOD - 1, PERIOD, 5 * PERIOD + 7, 1000 * (PERIOD - 1), 1000 * PERIOD + 3999]
    source = "\n".join(
        ["import time"] + [f"time.at_edge({edge_us})\nprint(time.ticks_us(), time.ticks_ms())" for edge_us in edges_us]
    )
    told = said_by(micropython32, source)
    assert told[::2] == [edge_us % PERIOD for edge_us in edges_us]
    assert told[1::2] == [edge_us // 1000 % PERIOD for edge_us in edges_us]
