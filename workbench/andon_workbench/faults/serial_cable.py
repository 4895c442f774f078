"""A serial cable between a node and its gateway: two ptys and what is lost and added on the way, under a seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class CableFaults:
    """Share of bytes that are lost, and of transfers before which a burst of 1 to 8 random bytes comes in."""

    loss: float = 0.0
    noise: float = 0.0


@dataclass(slots=True)
class CableCounts:
    """What the cable did, both directions together."""

    carried: int = 0
    lost: int = 0
    added: int = 0


class _End:
    """One end: a pty whose slave is the port that somebody opens, found under a name that outlives it."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.master = -1
        self._slave = -1

    def plug(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        # Replaced in one step: whoever looks for the port finds the old one or the new one.
        beside = self.link.with_name(f"{self.link.name}.new")
        beside.symlink_to(os.ttyname(self._slave))
        beside.replace(self.link)

    def unplug(self) -> None:
        self.link.unlink(missing_ok=True)
        for descriptor in (self.master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self.master = self._slave = -1


class SerialCable:
    """Carries bytes both ways inside the running event loop; `gateway_port` and `node_port` are paths to open."""

    def __init__(self, folder: Path, faults: CableFaults, seed: str) -> None:
        self.faults = faults
        self.counts = CableCounts()
        self._rng = Random(seed)  # noqa: S311  repeatable faults, not secrets
        self._gateway = _End(folder / "serial-gateway")
        self._node = _End(folder / "serial-node")

    @property
    def gateway_port(self) -> Path:
        """The port at the gateway."""
        return self._gateway.link

    @property
    def node_port(self) -> Path:
        """The port at the node."""
        return self._node.link

    def open(self) -> None:
        """Plug both ends in."""
        self._node.plug()
        self._watch(self._node, self._gateway)
        self.plug()

    def plug(self) -> None:
        """Plug the gateway's end in."""
        self._gateway.plug()
        self._watch(self._gateway, self._node)

    def unplug(self) -> None:
        """Pull the gateway's end out: its port vanishes, what comes is lost."""
        asyncio.get_running_loop().remove_reader(self._gateway.master)
        self._gateway.unplug()

    def close(self) -> None:
        """Take the cable away."""
        for end in (self._gateway, self._node):
            if end.master >= 0:
                asyncio.get_running_loop().remove_reader(end.master)
            end.unplug()

    def _watch(self, source: _End, target: _End) -> None:
        asyncio.get_running_loop().add_reader(source.master, self._carry, source, target)

    def _carry(self, source: _End, target: _End) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            data = self._disturbed(os.read(source.master, _READ_BYTES))
            if target.master >= 0:
                # What the other side does not read in time is lost, as in a UART that overruns.
                os.write(target.master, data)

    def _disturbed(self, data: bytes) -> bytes:
        kept = bytes(byte for byte in data if self._rng.random() >= self.faults.loss)
        self.counts.carried += len(data)
        self.counts.lost += len(data) - len(kept)
        if self._rng.random() < self.faults.noise:
            burst = self._rng.randbytes(self._rng.randint(1, 8))
            self.counts.added += len(burst)
            kept = burst + kept
        return kept
