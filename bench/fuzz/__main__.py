"""A million hostile datagrams and 100,000 fuzzed packs against the real gateway, beside well-behaved nodes.

Run: make fuzz [DATAGRAMS=] [PACKS=] [SEED=] [RATE=] [JSON=1], or python -m bench.fuzz --help. The exit status is 1 when the gateway had an
exception that nobody expected, left something unanswered, or lost a good pack.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.fuzz.campaign import RATE, Campaign, run
from bench.gateway import peers, processes
from bench.gateway.report import machine, say


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--datagrams", type=int, default=100_000, help="hostile datagrams (default %(default)d)")
    parser.add_argument("--packs", type=int, default=10_000, help="fuzzed packs (default %(default)d)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (default %(default)d)")
    parser.add_argument("--rate", type=float, default=RATE, help="of the attack, per second (default %(default)g)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


def main() -> int:
    """Attack and print; the result is the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended
    cores = processes.cores()
    os.sched_setaffinity(0, {cores[0]})
    say(machine())
    campaign = Campaign(options.datagrams, options.packs, options.seed, options.rate)
    peers.CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=peers.CACHE))
    try:
        outcome = run(campaign, folder, cores, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = asdict(campaign) | asdict(outcome)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return int(bool(outcome.uncaught or outcome.hung or outcome.good_lost))


if __name__ == "__main__":
    sys.exit(main())
