"""Whether the node's heap stays as it is: one emulated board through a week, with keys, commands, loss and outages; one JSON line.

    .venv/bin/python bench/firmware_week.py [--vm 32] [--hours 168] [--sample 10] [--loss 0.1] [--keep FILE] [--heap 104wk]

The board's clock jumps from one event to the next (firmware_week_board.py), so the run takes the board's CPU time and no more, and
another load of the machine changes its duration, not what is measured. In the last five of every forty minutes the gateway is silent, so that
packs go to the journal and come back from it; a command comes every ten minutes. Reported: the bytes that are live after a
garbage collection, every minute in which no pack waits; their slope once the node's memories are full, with its standard error
(andon_workbench/soak/heap.py). Growth is positive here. The real gateway, power cuts and real time are the soak's (docs/soak.md).

With words of 32 bits (`--vm 32`) ticks begin anew after twelve days and tell past from future over six; so a longer run, whose clock leaves the
real one behind, is several starts with the same flash.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from andon_workbench.board import HEAPS, Vm, find_micropython
from andon_workbench.bundle.build import compile_source
from andon_workbench.emulated_parts import emulated_parts
from andon_workbench.registers import RegisterFile, rom_code
from andon_workbench.soak.heap import runs, slope

ROOT = Path(__file__).resolve().parents[1]
BOARD_MAIN = Path(__file__).with_name("firmware_week_board.py")
OUTAGE_EVERY_MS, OUTAGE_MS = 2_400_000, 300_000
COMMAND_EVERY_S = 600
WARM_UP_MS = 900_000
# From one start, so that no time lies further ahead of the real ticks than ticks_diff can tell.
LONGEST_START_H = {Vm.BITS_64: float("inf"), Vm.BITS_32: 144.0}
CONFIG = {
    "version": 1,
    "node": "press-1",
    "board": "esp32-devkit",
    "wifi": {"ssid": "andon", "password": ""},
    "gateway": {"host": "127.0.0.1", "port": 5683},
    "temperature": [{"channel": 0, "pin": "W1"}],
    "cycles": [{"channel": 0, "pin": "IN1"}],
    "relays": [{"channel": 0, "pin": "RELAY1", "safe": False}],
    "hold_s": 120,
}
KEYS = {"secret": "0f" * 16, "salt": None, "sender_id": "01", "recipient_id": "00"}


def starts(hours: float, vm: Vm) -> list[tuple[int, int]]:
    """When the board is started and ended, in milliseconds of the run."""
    count = max(1, math.ceil(hours / LONGEST_START_H[vm]))
    edges = [round(hours * 3_600_000 * number / count) for number in range(count + 1)]
    return list(itertools.pairwise(edges))


def prepare(folder: Path, vm: Vm, heap: str, sample_s: int) -> list[str]:
    """Lay everything out in `folder` but its plan, `week.json`, and return the command line of the board."""
    registers = RegisterFile.create(folder / "registers")
    registers.set_wifi(reachable=True)
    registers.place_sensor(0, bus_pin=4, rom=rom_code(1), raw=400)
    registers.close()
    config = {**CONFIG, "sample_ms": sample_s * 1000}
    for name, document in (("config.json", config), ("keys.json", KEYS)):
        (folder / name).write_text(json.dumps(document))
    parts = emulated_parts(ROOT / "firmware")
    put = [f"{folder / name}:/{name}" for name in ("config.json", "keys.json")]
    words: list[object] = [
        find_micropython(vm),
        "-X",
        f"heapsize={heap}",
        ROOT / "firmware" / "sim" / "board.py",
    ]
    words += ["--flash", folder / "flash.img", "--registers", folder / "registers", "--firmware", parts.firmware]
    if parts.hardware is not None:
        words += ["--hardware", parts.hardware]
    for pair in put:
        words += ["--put", pair]
    # In place of the firmware's own; compiled here, so that the compiler's memory does not count.
    (folder / "stand_in.mpy").write_bytes(compile_source(BOARD_MAIN.read_text(), "stand_in.py"))
    (folder / "main.py").write_text("import stand_in\n")
    for name in ("stand_in.mpy", "main.py", "week.json"):
        words += ["--replace", f"{folder / name}:/{name}"]
    return [str(word) for word in words]


def judge(console: str) -> dict[str, Any]:
    """What the board's console says."""
    samples: list[tuple[float, float]] = []
    starts_ms: list[float] = []
    commands_ms: list[float] = []
    counts = before = [0, 0, 0, 0]
    for kind, *words in (line.split() for line in console.splitlines() if line.startswith(("start ", "live "))):
        ms = float(words[0])
        if kind == "start":
            # A start counts from zero.
            starts_ms.append(ms)
            before = counts
            continue
        samples.append((ms, float(words[1])))
        counts = [done + int(word) for done, word in zip(before, words[2:], strict=True)]
        commands_ms += [ms] * (counts[3] - len(commands_ms))
    measured = runs(samples, starts_ms, commands_ms, WARM_UP_MS)
    full = [live for part in measured for _, live in part]
    found = slope(measured)
    return {
        "hours": round(samples[-1][0] / 3_600_000, 2) if samples else 0,
        "starts": len(starts_ms),
        "packs": counts[0],
        "temperatures": counts[1],
        "commands": counts[2],
        "commands_executed": counts[3],
        "measurements": len(samples),
        "live_at_first": samples[0][1] if samples else None,
        "live_max": max((live for _, live in samples), default=None),
        "live_with_full_memories": [min(full), max(full)] if full else None,
        "slope_bytes_per_hour": None if found is None else round(found.bytes_per_hour, 2),
        "slope_standard_error": None if found is None else round(found.standard_error, 2),
        "memory_errors": console.count("MemoryError"),
    }


def run(
    hours: float,
    sample_s: int,
    loss: float,
    keep: Path | None = None,
    command_every_s: int = COMMAND_EVERY_S,
    vm: Vm = Vm.BITS_64,
    heap: str | None = None,
) -> dict[str, Any]:
    """Run the board to its end and judge it.

    Raises:
        subprocess.CalledProcessError: it did not come to its end.
    """
    began = time.monotonic()
    heap = heap or HEAPS[vm]["esp32"]
    plan = {
        "loss": loss,
        "outage_every_ms": OUTAGE_EVERY_MS,
        "outage_ms": OUTAGE_MS,
        "command_every_ms": command_every_s * 1000,
    }
    with tempfile.TemporaryDirectory() as scratch:
        console = keep or Path(scratch) / "console.log"
        command = prepare(Path(scratch), vm, heap, sample_s)
        with console.open("wb") as log:
            for seed, (begin_ms, end_ms) in enumerate(starts(hours, vm), 1):
                now = {**plan, "seed": seed, "begin_ms": begin_ms, "end_ms": end_ms}
                (Path(scratch) / "week.json").write_text(json.dumps(now))
                done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
                if done.returncode:
                    said = console.read_text(errors="replace")
                    raise subprocess.CalledProcessError(done.returncode, command, said[-2000:])
        said = console.read_text(errors="replace")
    return {**judge(said), "vm": vm.value, "heap": heap, "wall_s": round(time.monotonic() - began, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=168)
    parser.add_argument("--sample", type=int, default=10, help="seconds between samples")
    parser.add_argument("--loss", type=float, default=0.1, help="share of the datagrams lost")
    parser.add_argument("--keep", type=Path, help="where the board's console goes")
    parser.add_argument("--command", type=int, default=COMMAND_EVERY_S, help="seconds between commands, on the mean")
    parser.add_argument("--vm", type=Vm, choices=list(Vm), default=Vm.BITS_64, help="bits of the words of MicroPython")
    parser.add_argument("--heap", help="of the board, as MicroPython's -X heapsize; without it what such boards have")
    given = parser.parse_args()
    report = run(given.hours, given.sample, given.loss, given.keep, given.command, given.vm, given.heap)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
