"""A process for the kill test: writes to an embedded store and prints a number once that write is acknowledged."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from andon_cloud.telemetry.embedded import EmbeddedStore
from andon_cloud.telemetry.store import Precision


async def main(path: Path, first: int) -> None:
    store = EmbeddedStore(path)
    await store.open()

    async def write(lane: int) -> None:
        number = first + lane
        while True:
            await store.write(
                f"m,lane={lane} v={number}i {number}\nn,lane={lane} v={number}i {number}".encode(), Precision.MS
            )
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 8

    await asyncio.gather(*(write(lane) for lane in range(8)))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
