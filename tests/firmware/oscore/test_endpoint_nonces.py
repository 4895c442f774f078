"""The whole path of a node's messages through power cuts: no nonce encrypts two messages."""

from __future__ import annotations

import json
import subprocess

from firmware.oscore.vm import HERE, board_command, board_environment, micropython
from parts import require_part


def test_the_endpoint_reuses_no_nonce_over_a_thousand_power_cuts() -> None:
    require_part("micropython", found=micropython() is not None, how="make dev")
    environment = board_environment()
    environment["MICROPYPATH"] = f"{HERE}:{environment['MICROPYPATH']}"
    ran = subprocess.run(
        board_command(HERE / "board_endpoint_cuts.py", "7", "1000", heap="8m"),  # every nonce ever used is remembered
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["cuts"] == 1000
    assert report["sent"] > 10_000
    assert report["unanswered"] > 1000
    assert report["reused"] == 0
