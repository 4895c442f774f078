"""The real gateway on a wall clock that a test sets: shifted_clock.c, compiled on the spot and preloaded."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from parts import require_part

SOURCE = Path(__file__).with_suffix(".c")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOT_SYNCHRONISED = 5  # adjtimex(2), TIME_ERROR
SYNCHRONISED = 0


def compiled(folder: Path) -> Path:
    """Compile the library; skip the test where there is no compiler."""
    compiler = shutil.which("cc") if sys.platform == "linux" else None
    require_part("cc", found=compiler is not None, how="make deps-test")
    library = folder / "shifted_clock.so"
    assert compiler is not None
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    return library


class ShiftedClock:
    """The wall clock of processes that have `environment`, as far from the real one as `set` says."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "ANDON_SHIFTED_CLOCK": str(self._file)}

    def set(self, off_ms: int, answer: int = NOT_SYNCHRONISED) -> None:
        """Set the clock; one write, so nobody reads half of it."""
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, struct.pack("=qq", off_ms, answer))
        os.close(descriptor)
