"""What every run says first: the machine, the date and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path


def say(text: str) -> None:
    """A remark, beside the result."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """One line about where and when."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {commit or 'unknown'}, {model}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load average {os.getloadavg()[0]:.1f} before the run"
    )
