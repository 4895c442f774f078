"""CPU per message of the gateway's own process and of its workers: what `workers = 2` takes off the one process that must be alone.

Run: python bench/gateway_workers.py [--workers 1,2] [--seconds 5] [--plain]. Generator, stand-in cloud and gateway share all cores; so the
figures are CPU times. How many messages a second a machine with enough cores takes is bounded by the busiest process: 1 / its CPU per message.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.gateway import andon, fleet
from bench.gateway.costs import LEAST_FRAMES, Rig, Subject, prepare, warm_up
from bench.gateway.load import Generator
from bench.gateway.processes import ServerProcess, family, on_disk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.gateway.fleet import Node

NODES: Final = 128
ROUNDS: Final = 3
_ROOM: Final = 1.6
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def own_cpu_s(pid: int) -> float:
    """User and system time of one process without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Resident memory of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def everywhere(server: ServerProcess) -> list[int]:
    """Give all threads of a server and of its children all cores; gives the processes, the first one first."""
    pids = family(server.pid)
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), range(os.cpu_count() or 1))
    return pids


def measure(rig: Rig, workers: int, *, protected: bool) -> None:
    """Print a line per round."""
    names = fleet.names(rig.nodes)
    keys = fleet.key_table(rig.nodes) if protected else None
    folder = rig.folder / f"{workers}-{protected}"
    with andon.run_with_stand_in(folder, rig.cores, names, keys, workers=workers) as gateway:
        gateway.send_cloud_away()
        pids = everywhere(gateway.process)
        nodes: Sequence[Node] = (
            fleet.protected_nodes(rig.nodes, gateway.coap) if protected else fleet.plain_nodes(rig.nodes, gateway.coap)
        )
        subject = Subject("andon", [gateway.process], nodes)
        rate = warm_up(rig, subject)
        for _ in range(ROUNDS):
            prepare(nodes, max(LEAST_FRAMES, rate * rig.seconds * _ROOM))
            gc.collect()
            with closing(Generator([node.lane for node in nodes])) as generator:
                before = [own_cpu_s(pid) for pid in pids]
                tally = generator.saturate(rig.seconds, window=rig.nodes)
                used = [own_cpu_s(pid) - was for pid, was in zip(pids, before, strict=True)]
            for node in nodes:
                node.lane.frames.clear()
            each = [f"{one / tally.answered * 1e6:.1f}" for one in used]
            kind = "OSCORE" if protected else "plain"
            print(
                f"{kind}, workers {workers}: gateway {each[0]} us/message, workers {', '.join(each[1:]) or '-'};"
                f" {tally.answered / tally.seconds:.0f}/s, {tally.answered} messages, repeated {tally.repeated}, others than 2.04: {tally.others.total()},"
                f" MB {', '.join(f'{rss_mb(pid):.0f}' for pid in pids)}, load {os.getloadavg()[0]:.0f}"
            )
        fleet.close(nodes)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--plain", action="store_true", help="without OSCORE")
    parser.add_argument("--folder", type=Path, default=None, help="on a disk")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if not on_disk(Path(folder)):
            parser.error("give a --folder on a disk: an fsync to memory costs nothing")
        cores = sorted(os.sched_getaffinity(0))
        rig = Rig(Path(folder), (cores[0], cores[-1]), options.seconds, NODES, print)
        for workers in map(int, options.workers.split(",")):
            measure(rig, workers, protected=not options.plain)


if __name__ == "__main__":
    main()
