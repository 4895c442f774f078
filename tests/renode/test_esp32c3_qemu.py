"""MicroPython's ESP32-C3 image boots in Espressif's emulator, where that is installed."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from parts import require_part

QEMU = "qemu-system-riscv32"
IMAGE = "ANDON_ESP32C3_IMAGE"
# The emulated board's flash chip; the image begins at its first byte.
FLASH_BYTES = 4 * 1024 * 1024
LIMIT_S = 120.0


def knows_the_chip() -> bool:
    """Espressif's own build; the distributions' QEMU has no such machine."""
    if shutil.which(QEMU) is None:
        return False
    machines = subprocess.run([QEMU, "-machine", "help"], capture_output=True, text=True, timeout=30, check=False)
    return "esp32c3" in machines.stdout


@pytest.mark.timeout(LIMIT_S + 30)
def test_image_boots_to_its_prompt(tmp_path: Path) -> None:
    require_part("qemu-esp32c3", found=knows_the_chip(), how=f"put Espressif's {QEMU} (with machine esp32c3) on PATH")
    named = os.environ.get(IMAGE, "")
    require_part("qemu-esp32c3", found=Path(named).is_file(), how=f"{IMAGE}=ESP32_GENERIC_C3-....bin")
    flash = tmp_path / "flash.bin"
    flash.write_bytes(Path(named).read_bytes().ljust(FLASH_BYTES, b"\xff"))
    with subprocess.Popen(
        [QEMU, "-nographic", "-machine", "esp32c3", "-drive", f"file={flash},if=mtd,format=raw"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout is not None
            heard = b""
            end = time.monotonic() + LIMIT_S
            while b">>> " not in heard and time.monotonic() < end and process.poll() is None:
                if select.select([process.stdout], [], [], 1.0)[0]:
                    heard += os.read(process.stdout.fileno(), 4096)
        finally:
            process.kill()
    assert b"MicroPython v" in heard
    assert b">>> " in heard
