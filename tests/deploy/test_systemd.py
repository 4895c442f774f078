"""deploy/andon-gateway.service by systemd's own tools, and against the program that it starts."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from parts import require_part

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "andon-gateway.service"
MOST_EXPOSED = 20  # of 100, systemd's own measure; a unit without hardening has more than 90


@pytest.fixture
def analyze() -> str:
    tool = shutil.which("systemd-analyze")
    require_part("systemd-analyze", found=tool is not None, how="make deps-test")
    assert tool is not None
    return tool


def installed(folder: Path) -> Path:
    """The unit as on a machine where the program is there: `verify` looks for it."""
    program = Path(sys.executable).parent / "andon-gateway"
    assert program.is_file(), "the gateway is not installed in this environment"
    unit = folder / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/andon/bin/andon-gateway", str(program)))
    return unit


def test_systemd_finds_nothing_wrong(analyze: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(installed(tmp_path))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_service_can_reach_little(analyze: str, tmp_path: Path) -> None:
    command = [
        analyze,
        "security",
        "--no-pager",
        "--offline=true",
        f"--threshold={MOST_EXPOSED}",
        str(installed(tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    judges = "unrecognized option" not in done.stderr
    require_part(
        "systemd-250", found=judges, how="make deps-test, on Debian 12 or newer: older ones cannot judge a unit offline"
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_it_starts_the_program_as_the_program_is_called() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's keys have capitals
    unit.read_string(UNIT.read_text())
    _program, *arguments = unit["Service"]["ExecStart"].split()
    assert arguments[0] == "run"
    done = subprocess.run(
        [sys.executable, "-m", "andon_gateway", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == int(unit["Service"]["RestartPreventExitStatus"]), (
        "no configuration there: not to be repeated"
    )
    assert re.search(r"cannot be read", done.stderr)
