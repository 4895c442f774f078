"""What the node costs: size, start, heap, and time per pack by stage; prints one JSON line.

    .venv/bin/python bench/firmware.py [--vm 32] [--heap 88wk]

Size is that of the application compiled by mpy-cross (31-bit small integers, as for an ESP32). Start and heap are those of an
emulated board that runs the compiled files, from the start of its process to the gateway's first answer 2.04. The stages run
on the MicroPython VM in a heap of 384 KiB: encode (a pack of eight readings), protect (OSCORE), journal (append and settle on
littlefs in a file). All is CPU or wall time of this machine; an ESP32 is slower by a factor that only a board can tell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# In place of this folder, where this very file is called `firmware`.
sys.path[0] = str(ROOT / "tests")

from firmware.update.emulated import EmulatedBoard, until  # noqa: E402 - the path to it is set above
from firmware.update.gateway import Gateway  # noqa: E402 - as above

from andon_workbench.board import HEAPS, Vm, find_micropython  # noqa: E402 - as above
from andon_workbench.bundle.format import Bundle  # noqa: E402 - as above
from andon_workbench.emulated_parts import install  # noqa: E402 - as above
from andon_workbench.ports import lasting_port  # noqa: E402 - as above


async def start(folder: Path, firmware: Path, vm: Vm, heap: str) -> dict[str, Any]:
    """Start a board twice (the first start makes its flash); measure the second."""
    async with (
        Gateway() as gateway,
        EmulatedBoard(folder, firmware, gateway.port, lasting_port(), vm=vm, heap=heap) as board,
    ):
        await until(lambda: gateway.telemetry.packs, 30, board)
        times = []
        for _ in range(5):
            await board.power_cut()
            seen = len(gateway.telemetry.packs)
            began = time.monotonic()
            await board.power_on()
            await until(lambda seen=seen: len(gateway.telemetry.packs) > seen, 30, board)
            times.append(time.monotonic() - began)
        _, health = await gateway.ask(board.port, 1, "health")
        return {"boot_to_first_pack_s": round(sorted(times)[2], 3), "heap_free": (health or {}).get("heap_free")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vm", type=Vm, choices=list(Vm), default=Vm.BITS_64, help="bits of the words of MicroPython")
    parser.add_argument("--heap", help="as MicroPython's -X heapsize; without it what such boards have")
    arguments = parser.parse_args()
    vm = arguments.vm
    heap = arguments.heap or HEAPS[vm]["esp32"]
    with tempfile.TemporaryDirectory() as scratch:
        firmware = Path(scratch) / "firmware"
        files = install(ROOT / "firmware", firmware, "1.0.0")
        app = {name: content for name, content in files.items() if name.startswith("andon_node/")}
        base = sum(len(content) for name, content in files.items() if name.startswith("andon_base/"))
        board = Path(scratch) / "board"
        board.mkdir()
        report: dict[str, Any] = {
            "vm": vm.value,
            "heap": heap,
            "app_mpy_bytes": sum(map(len, app.values())),
            "app_files": len(app),
            "bundle_bytes": len(Bundle("1.0.0", app).encode()),
            "base_mpy_bytes": base,
            **asyncio.run(start(board, firmware, vm, heap)),
        }
        stages = subprocess.run(
            [
                find_micropython(vm),
                "-X",
                "heapsize=384k",
                ROOT / "bench/firmware_stages.py",
            ],
            env={"MICROPYPATH": f"{firmware}:{ROOT / 'firmware/sim'}:.frozen"},
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        report["stages"] = json.loads(stages.stdout) if stages.returncode == 0 else stages.stdout + stages.stderr
    print(json.dumps(report))


if __name__ == "__main__":
    main()
