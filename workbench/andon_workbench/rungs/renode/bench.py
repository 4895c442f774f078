"""The rung `renode`: a whole board of emulated silicon, with an image of MicroPython as it is published."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final, Self

from andon_workbench.node.link import BoardLink
from andon_workbench.rungs.capability import RENODE, Capability
from andon_workbench.rungs.renode.errors import RenodeError
from andon_workbench.rungs.renode.machine import RenodeMachine
from andon_workbench.rungs.renode.network import network_for
from andon_workbench.rungs.renode.parts import find_image, find_renode

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from andon_workbench.checkout import Checkout

# What the whole firmware needs (docs/boards.md, "Room"): heap at the prompt, more where it does not run in place from a
# ROMFS, and files with a journal of 32 KiB.
_NODE_HEAP: Final = 140_000
_NODE_HEAP_IN_PLACE: Final = 80_000
_NODE_FLASH: Final = 190_000
# Between two starts of the board, which take longer, there is a new seed for its random numbers.
_RESEED_S: Final = 0.5
_ROOM: Final = """\
(lambda gc, os, vfs: (gc.collect(), gc.mem_free(), os.statvfs(_andon_root), hasattr(vfs, 'rom_ioctl'))[1:])(\
__import__('gc'), __import__('os'), __import__('vfs'))
"""


class RenodeBench:
    """One board under Renode. `folder` is for its log and its ptys; nothing outlives it: files go with Renode's end."""

    name = "renode"
    uart = 2

    def __init__(self, folder: Path, checkout: Checkout) -> None:
        """Find the parts.

        Raises:
            MissingPartError: Renode or the board's image is not on this machine.
        """
        image = find_image()
        self.image = image.name
        self._network = network_for(os.getpid())
        scripts = checkout.root / "renode"
        self.machine = RenodeMachine(find_renode(folder), scripts, folder, image, self._network)
        self.capabilities = RENODE
        self.host = "127.0.0.1"
        self.note: str | None = None
        self._reseeding: asyncio.Task[None] | None = None

    @property
    def port(self) -> str:
        """The console's port."""
        return self.machine.port

    @property
    def wire(self) -> Path:
        """The pty on UART 2."""
        return self.machine.wire

    @property
    def template(self) -> dict[str, Any]:
        """The configuration to start from."""
        wire = self._network.wire
        return {
            "board": "nucleo-f429zi",
            "link": {"kind": "lan"},
            "lan": {"address": wire.board} if wire is not None else {},
            # Renode's Si7021 sends two bytes and no checksum.
            "sensors": [{"driver": "si7021", "channel": 0, "checksum": False}],
            "cycles": [{"channel": 0, "pin": "IN1", "active": "high", "debounce_ms": 20}],
            "relays": [{"channel": 0, "pin": "RELAY1"}],
            # Its flash holds the firmware and little else.
            "journal_bytes": 32768,
        }

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._start)
        self._reseeding = asyncio.create_task(self._reseed(), name="seeds for the board")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reseeding is not None:
            self._reseeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reseeding
        await asyncio.to_thread(self._stop)

    async def set_temperature(self, celsius: float) -> None:
        """Set what its sensor measures from now on."""
        await asyncio.to_thread(self.machine.set_temperature, celsius)

    async def press(self, times: int) -> None:
        """Pulses on the button at 10 Hz."""
        await asyncio.to_thread(self.machine.press, times)

    async def relay(self) -> bool:
        """Whether the LED that stands for relay 0 is on."""
        return await asyncio.to_thread(self.machine.relay, 1)

    async def power_cut(self) -> None:
        """Stop it at this instruction."""
        await asyncio.to_thread(self.machine.power_cut)

    async def power_on(self) -> None:
        """Start it with empty memory."""
        await asyncio.to_thread(self.machine.power_on)

    async def _reseed(self) -> None:
        """New random numbers for each start of the board: it starts again on its own account, too."""
        # Where Renode has ended, whoever uses the board next is told.
        with contextlib.suppress(RenodeError):
            while True:
                await asyncio.to_thread(self.machine.reseed)
                await asyncio.sleep(_RESEED_S)

    def _start(self) -> None:
        self._network.__enter__()
        try:
            self.note = self.machine.start()
            self.machine.wait_for_repl()
            self._look_for_room()
        except BaseException:
            self._stop()
            raise
        if self.machine.in_container:
            self.capabilities -= {Capability.WIRE}
        if self._network.wire is None:
            self.capabilities -= {Capability.NETWORK, Capability.NODE}
        else:
            self.host = self._network.wire.host

    def _stop(self) -> None:
        self.machine.stop()
        self._network.__exit__(None, None, None)

    def _look_for_room(self) -> None:
        """The official image leaves 94 KB of heap and 112 KB of flash: enough for the parts, not for the node."""
        with BoardLink(self.port) as board:
            heap, flash, in_place = board.evaluate(_ROOM.strip())
        if heap < (_NODE_HEAP_IN_PLACE if in_place else _NODE_HEAP) or flash[0] * flash[3] < _NODE_FLASH:
            self.capabilities -= {Capability.NODE}
