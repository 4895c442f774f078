"""Runs firmware modules in the real MicroPython VM, with CPython as the judge."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"
SIM = FIRMWARE / "sim"
MICROPYTHON = Path(sys.executable).with_name("micropython")


def vm_environment(*, sim: bool = False) -> dict[str, str]:
    """Environment in which `import andon_node` works; with the sim's modules first if wanted."""
    path = [str(SIM)] if sim else []
    return {**os.environ, "MICROPYPATH": ":".join([*path, str(FIRMWARE), ".frozen"])}


def run_vm(
    source: str, *arguments: str, sim: bool = False, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        [str(MICROPYTHON), "-c", source, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=vm_environment(sim=sim),
        cwd=cwd,
    )


class LineVm:
    """A VM that answers each line with one line: one process for thousands of cases.

    Args:
        source: Defines `answer(line)`.
    """

    _LOOP = """
import sys
while True:
    line = sys.stdin.readline()
    if not line:
        break
    print(answer(line.strip()))
"""

    def __init__(self, source: str, *arguments: str, sim: bool = False) -> None:
        self._process = subprocess.Popen(
            [str(MICROPYTHON), "-c", source + self._LOOP, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=vm_environment(sim=sim),
        )

    def ask(self, line: str) -> str:
        """Send one line, return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the VM ended"
        return answer.rstrip("\n")

    def close(self) -> None:
        """End the VM."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
