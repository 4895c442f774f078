"""Ten of the two hundred kills of `make chaos`: what was acknowledged is in the store, and nothing is there twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 10
NODES = 50
# Boards cost the most; the others are lean nodes that know what was acknowledged.
BOARDS = 5
# Half a minute of kills on a machine of its own; a busy one takes longer, and a failing run waits for what never comes.
WALL_LIMIT_S = 540
ANDON = Path(sys.executable).with_name("andon")


@pytest.mark.needs_capability("fleet")
@pytest.mark.timeout(WALL_LIMIT_S + 30)
def test_ten_kills_of_the_gateway() -> None:
    done = subprocess.run(
        [ANDON, "chaos", *f"--kills {KILLS} --nodes {NODES} --boards {BOARDS} --seed 1 --json".split()],
        capture_output=True,
        text=True,
        timeout=WALL_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost"] == found["double"] == found["total_falls"] == found["waiting"] == 0
    assert found["acknowledged"] == found["stored"]
    # It happened at all.
    assert (found["kills"], found["nodes"]) == (KILLS, NODES)
    assert sum(found["moments"].values()) == KILLS
    assert found["moments"]["starting"] == 1
    assert sum(found["cuts"].values()) > 0
    assert found["datagrams_lost"] > 0
    assert found["datagrams_doubled"] > 0
    assert found["boots"] >= NODES - BOARDS
    assert found["board_readings"] > BOARDS
    # Two readings in each pack of a lean node, at least ten packs of each.
    assert found["acknowledged"] > (NODES - BOARDS) * 2 * 10
