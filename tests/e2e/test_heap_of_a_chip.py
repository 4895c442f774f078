"""The whole node in the heap that it promises to need: 128 KiB on a MicroPython whose words have 32 bits, as on an ESP32."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from e2e.limits import START_LIMIT_S
from e2e.test_commands import contact, final
from e2e.test_updates import bundle, nothing_lost_but_at_resets, runs, until, update_command
from firmware.update.vm import FIRMWARE, SITE_KEY_HEX
from micropython32 import micropython32  # noqa: F401 - a fixture

from andon_workbench.board import Vm
from andon_workbench.checkout import Checkout, find_checkout
from andon_workbench.emulated_parts import emulated_parts
from andon_workbench.factory import Factory
from andon_workbench.plan import FactoryPlan

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.timeout(400), pytest.mark.needs_capability("fleet")]

INTERLOCK = {
    "when": {"channel": "temperature/0", "above": 200.0, "clear_below": 190.0},
    "relay": 0,
    "state": False,
}


@dataclass(frozen=True, slots=True)
class ChangedCheckout(Checkout):
    """Boards get the firmware of another folder."""

    changed: Path

    @property
    def firmware(self) -> Path:
        """The sources there."""
        return self.changed


def with_a_short_trial(folder: Path) -> Path:
    """The firmware as it is, but a new version is on trial for three seconds instead of a minute."""
    shutil.copytree(FIRMWARE, folder)
    guard = folder / "andon_node/update/guard.py"
    text, count = re.subn(r"^SETTLE_MS = \d+", "SETTLE_MS = 3000", guard.read_text(), flags=re.MULTILINE)
    assert count == 1
    guard.write_text(text)
    return folder


@pytest.mark.usefixtures("micropython32")
async def test_readings_a_command_its_lease_and_an_update_in_128_kib_with_words_of_a_chip(tmp_path: Path) -> None:
    checkout = ChangedCheckout(find_checkout().root, with_a_short_trial(tmp_path / "firmware"))
    update = bundle(emulated_parts(checkout.firmware).firmware, tmp_path, "1.1.0")
    plan = FactoryPlan(
        nodes=1, seed=61, vm=Vm.BITS_32, site_key=SITE_KEY_HEX, node_settings={"interlocks": [INTERLOCK]}
    )
    (tmp_path / "factory").mkdir()
    async with Factory(plan, checkout, tmp_path / "factory") as factory:
        ((node, board),) = factory.boards.items()
        assert "heapsize=128k" in board.command().arguments
        assert await factory.first_readings(START_LIMIT_S) == []

        for switched in (1, 2):
            issued = await factory.api.switch_relay(node, 0, state=False, lease_s=2, expires_s=30)
            assert (await final(factory, issued)).status == "confirmed"

            async def leased(cycles: int = switched) -> bool:
                return contact(factory, node) == [False, True] * cycles

            await until("the relay back in its safe state", leased)

        status, said = await update_command(node, update, factory.cloud.url)
        assert (status, said.splitlines()[-1]) == (0, f"{node}: 1.1.0 confirmed"), said
        await until("1.1.0 in the registry", lambda: runs(factory, node, "1.1.0"))
        await nothing_lost_but_at_resets(factory, node)
        console = board.files.console.read_text(errors="replace")
        assert "MemoryError" not in console, console
        assert (board.resets, board.crashes) == (1, 0), console
