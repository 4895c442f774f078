"""A board that takes the place of a broken one: nothing of it is taken for what the old one has sent."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from e2e.limits import DRAIN_LIMIT_S, START_LIMIT_S
from e2e.test_exactly_once import readings_taken
from e2e.test_keys import metric
from e2e.test_updates import until

from andon_workbench.node.provision import BOOT_FILE, seed_boot_number
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from andon_workbench.factory import Factory

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs_capability("fleet")]


class BlankFlash:
    """Takes what provisioning writes, as files to be put onto a blank board."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, path: str) -> bytes:
        raise FileNotFoundError(path)

    def replace(self, path: str, data: bytes) -> None:
        (self.folder / path).write_bytes(data)

    def sha256(self, path: str) -> bytes:
        return hashlib.sha256((self.folder / path).read_bytes()).digest()


async def test_a_new_board_under_the_old_name_loses_nothing(
    build: Callable[[FactoryPlan], Factory], tmp_path: Path
) -> None:
    async with build(FactoryPlan(nodes=1, seed=61)) as factory:
        (node,) = factory.boards
        board = factory.boards[node]
        assert await factory.first_readings(START_LIMIT_S) == []
        # The old board's starts have numbers, and packs, that a blank one would use again.
        for _ in range(2):
            await readings_taken(factory, 4, limit_s=60)
            await factory.power_cut(node)
            await factory.power_on(node)
        await readings_taken(factory, 4, limit_s=60)
        await factory.power_cut(node)
        gone = (await factory.reconcile()).taken

        board.files.flash.unlink()
        keys = tmp_path / node / "keys.json"
        keys.write_text(json.dumps(await factory.api.make_keys(node)))
        blank: Any = BlankFlash(tmp_path)
        seed = seed_boot_number(blank, time.time())
        put: Any = board.files.put
        put[f"/{BOOT_FILE}"] = tmp_path / BOOT_FILE
        await factory.power_on(node)
        await readings_taken(factory, 8, limit_s=60)
        # Its next start counts on from there.
        await factory.power_cut(node)
        await factory.power_on(node)
        await readings_taken(factory, 4, limit_s=60)

        await factory.drain(limit_s=0.0)

        async def complete() -> bool:
            result = await factory.reconcile()
            assert all(item.duplicates == 0 for item in result.differences)
            # What the old board's flash still held is gone with it, and a loss of power costs the reading of its instant.
            missing = sum(item.missing for item in result.differences if item.quantity == "temperature")
            return missing <= 5 and result.taken - gone >= 12

        await until("everything that the new board has measured in the store", complete, DRAIN_LIMIT_S)
        boots = {value for _, value in await factory.api.history("node", "boots", node)}
        assert {value > seed for value in boots} == {True, False}
        assert metric(factory, "refused_packs_total") == 0
        assert len([value for value in boots if value > seed]) == 2
