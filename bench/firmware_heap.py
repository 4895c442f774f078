"""The node's heap with everything on; prints one JSON line.

    .venv/bin/python bench/firmware_heap.py [--vm 32] [--heap 80wk] [--seconds 30]

A factory of three emulated boards with OSCORE keys, thermometers, counters, a thermocouple, a door contact, relays with an
interlock and operators who command them, run by the real gateway and cloud. Reported: the smallest free heap and largest free block
that a node said after a garbage collection once it had settled, what of the heap was live then, and the sizes of the compiled code.

`hardware_live` is the part of it that a chip does not have: the objects of the emulated `machine`, `network`, `esp32` and so on, which
are Python here and C there. `heap_live_max` less `hardware_live` is what the node itself needs.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from andon_workbench import emulated_nodes
from andon_workbench.board import HEAPS, Board, Vm, find_micropython
from andon_workbench.checkout import find_checkout
from andon_workbench.emulated_parts import emulated_parts
from andon_workbench.factory import Factory
from andon_workbench.plan import FactoryPlan
from andon_workbench.registers import RegisterFile
from andon_workbench.traffic import CommandTraffic

START_LIMIT_S = 60.0
ASK = "import gc; gc.collect(); print(gc.mem_alloc())"
# What the nodes measured here use of it: 1-Wire, SPI, Wi-Fi, partitions.
ASK_HARDWARE = "import esp32, network, onewire, ds18x20, machine\nmachine.SPI\n" + ASK + "\n"
INTERLOCK = {
    "when": {"channel": "temperature/0", "above": 200.0, "clear_below": 190.0},
    "relay": 0,
    "state": False,
}


def usable(vm: Vm, heap: str) -> int:
    """Bytes of a heap that objects can have; the rest are the collector's own tables."""
    said = subprocess.run(
        [find_micropython(vm), "-X", f"heapsize={heap}", "-c", "import gc; print(gc.mem_free() + gc.mem_alloc())"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(said.stdout)


def hardware_live(vm: Vm, heap: str) -> int:
    """Bytes of the emulated hardware's own objects: a board with nothing on it but a boot.py that asks, less a bare VM."""
    checkout = find_checkout()
    parts = emulated_parts(checkout.firmware)
    with tempfile.TemporaryDirectory(prefix="andon-heap-") as name:
        folder = Path(name)
        RegisterFile.create(folder / "registers").close()
        (folder / "boot.py").write_text(ASK_HARDWARE)
        board = [checkout.board, "--flash", folder / "flash", "--registers", folder / "registers"]
        board += ["--put", f"{folder / 'boot.py'}:boot.py", "--put", "/dev/null:main.py"]
        if parts.hardware is not None:
            board += ["--hardware", parts.hardware]
        live = [
            int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            for command in (
                [find_micropython(vm), "-X", f"heapsize={heap}", *board],
                [find_micropython(vm), "-X", f"heapsize={heap}", "-c", ASK],
            )
        ]
    return live[0] - live[1]


async def measure(vm: Vm, heap: str, seconds: float) -> dict[str, Any]:
    """Run the factory and ask the cloud what the nodes said."""
    # The factory knows one heap only.
    setattr(emulated_nodes, "Board", functools.partial(Board, heap=heap))  # noqa: B010 - it does not export the name
    with tempfile.TemporaryDirectory(prefix="andon-heap-") as folder:
        plan = FactoryPlan(nodes=3, seed=1, node_settings={"interlocks": [INTERLOCK]}, vm=vm)
        async with Factory(plan, find_checkout(), Path(folder)) as factory:
            silent = await factory.first_readings(START_LIMIT_S)
            traffic = CommandTraffic(factory.api, factory.ledger, list(factory.boards), 1, (1.5, 5.0))
            await asyncio.sleep(seconds)
            await traffic.close(30)
            nodes = {}
            for name, board in factory.boards.items():
                free = [value for _, value in await factory.api.history("node", "heap_free", name)]
                largest = [value for _, value in await factory.api.history("node", "heap_largest", name)]
                log = board.files.console.read_text(errors="replace")
                nodes[name] = {
                    "heap_free": free,
                    "heap_live_max": usable(vm, heap) - min(free, default=0),
                    "heap_largest_min": min(largest, default=0),
                    "crashes": board.crashes + board.resets,
                    "memory_errors": log.count("MemoryError"),
                }
    return {"silent": silent, "commands": len(traffic.sent), "nodes": nodes}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vm", type=Vm, choices=list(Vm), default=Vm.BITS_64, help="bits of the words of MicroPython")
    parser.add_argument("--heap", help="as MicroPython's -X heapsize; without it what such boards have")
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    vm = arguments.vm
    heap = arguments.heap or HEAPS[vm]["esp32"]
    parts = emulated_parts(find_checkout().firmware)
    files = {path.relative_to(parts.firmware).as_posix(): path.stat().st_size for path in parts.firmware.rglob("*.mpy")}
    report = {
        "vm": vm.value,
        "heap": heap,
        "heap_usable": usable(vm, heap),
        "app_mpy_bytes": sum(size for name, size in files.items() if name.startswith("andon_node/")),
        "base_mpy_bytes": sum(size for name, size in files.items() if name.startswith("andon_base/")),
        "hardware_live": hardware_live(vm, heap),
        "hardware_image_bytes": parts.hardware.stat().st_size if parts.hardware else None,
        **asyncio.run(measure(vm, heap, arguments.seconds)),
    }
    Console(file=sys.stdout, soft_wrap=True).print(json.dumps(report), highlight=False)


if __name__ == "__main__":
    main()
