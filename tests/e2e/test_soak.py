"""The soak, short: power cuts, outages and 20 % packet loss on the fast clock, and the store equals the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from parts import require_part

from andon_workbench.soak.fast_clock import find_compiler

WALL_LIMIT_S = 480
NODES = 4
# The fourth machine, the oven, has a thermocouple as well: five channels.
ANDON = Path(sys.executable).with_name("andon")


@pytest.mark.needs_capability("fleet")
@pytest.mark.timeout(WALL_LIMIT_S + 30)
def test_simulated_hour_fraction_with_cuts_outages_and_loss() -> None:
    require_part("cc", found=find_compiler() is not None, how="make deps-test")
    done = subprocess.run(
        [ANDON, *f"soak --nodes {NODES} --hours 0.1 --speed 10 --sample 5 --seed 5 --json".split()],
        capture_output=True,
        text=True,
        timeout=WALL_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["nodes"] == NODES
    # It happened at all: faults, losses, commands, readings.
    assert found["power_cuts"] >= 2
    assert found["outages"] >= 2
    assert found["datagrams_lost"] > 0
    assert found["commands_confirmed"] > 0
    assert found["output_on_s"] > 0
    assert found["cycles_stored"] > 0
    assert found["taken"] == found["stored"] > 100
    assert found["in_cuts"] <= found["power_cuts"] * 2
    assert found["dropped_declared"] == 0
    assert found["lost"] == found["double"] == 0
    assert found["cycles_lost"] == found["cycles_double"] == 0
    assert found["unsafe_output_s"] == 0
    assert found["outputs_unseen"] == 0
    # Six minutes tell nothing of a slope.
    assert found["heap_slope_bytes_per_hour"] is None
