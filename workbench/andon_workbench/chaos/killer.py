"""Kills the gateway at drawn moments and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from andon_workbench.chaos.plan import Moment
from andon_workbench.errors import ComponentError
from andon_workbench.faults.tcp_gate import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from andon_workbench.chaos.plan import Kill
    from andon_workbench.faults.tcp_gate import TcpGate
    from andon_workbench.faults.udp_proxy import UdpProxy
    from andon_workbench.services import Service

# A moment that does not come (no write while the database is away) is not waited for longer.
PATIENCE_S: Final = 5.0
# A gateway that takes long to start lives longer, too, up to so many times: otherwise nodes would hardly meet it.
_LONGER_MOST: Final = 3.0
_LOOK_S: Final = 0.001
_PHASES: Final = {
    Moment.POST_UNSENT: Phase.HEAD,
    Moment.POST_TORN: Phase.BODY,
    Moment.POST_UNANSWERED: Phase.ANSWER,
}


class Killer:
    """Kill after kill; between two of them the gateway is started.

    Args:
        gateway: The process.
        uplink: The gate between the gateway and the cloud.
        log: The write-ahead log of the gateway's database: it changes with every commit.
        network: The proxy between nodes and gateway.

    Attributes:
        done: Kills, by the moment that was hit; one whose moment did not come counts as `any`.
        start_s: How long the last start took.
    """

    def __init__(self, gateway: Service, uplink: TcpGate, log: Path, network: UdpProxy) -> None:
        self.done: Counter[Moment] = Counter()
        self.start_s = 1.0
        self._gateway = gateway
        self._uplink = uplink
        self._log = log
        self._network = network

    async def carry_out(self, kill: Kill) -> None:
        """Start the gateway where it is dead, wait for the moment, kill it.

        Raises:
            ComponentError: the gateway does not start, or has ended by itself.
        """
        if kill.moment is Moment.STARTING and not self._gateway.running:
            await self._kill_while_starting(kill.after * self.start_s)
            self.done[Moment.STARTING] += 1
            return
        await self.start()
        await asyncio.sleep(kill.after * min(max(1.0, self.start_s), _LONGER_MOST))
        if not self._gateway.running:
            raise ComponentError("gateway: ended by itself; its log says why")
        hit = await self._await_moment(kill)
        await self._gateway.kill()
        self.done[kill.moment if hit else Moment.ANY] += 1

    async def start(self) -> None:
        """Start the gateway if it is dead.

        Raises:
            ComponentError: it does not become ready.
        """
        if not self._gateway.running:
            began = time.monotonic()
            await self._gateway.start()
            self.start_s = time.monotonic() - began

    async def _kill_while_starting(self, after_s: float) -> None:
        starting = asyncio.create_task(self._gateway.start(), name="a start that is killed")
        await asyncio.wait({starting}, timeout=after_s)
        await self._gateway.kill()
        with contextlib.suppress(ComponentError):
            await starting

    async def _await_moment(self, kill: Kill) -> bool:
        """Wait for the moment; False where it did not come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                if kill.moment is Moment.COMMIT:
                    await self._commit()
                    await asyncio.sleep(kill.late_s)
                elif kill.moment is Moment.ANSWER:
                    await self._answer()
                elif kill.moment in _PHASES:
                    await self._write_request(_PHASES[kill.moment])
        except TimeoutError:
            return False
        return kill.moment is not Moment.STARTING

    async def _commit(self) -> None:
        before = self._written()
        while self._written() == before:  # noqa: ASYNC110  another process's file announces nothing
            await asyncio.sleep(_LOOK_S)

    def _written(self) -> tuple[int, int]:
        try:
            status = self._log.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    async def _answer(self) -> None:
        """Kill in the instant in which an answer has left the gateway: what it promises must be on the disk by now."""
        killed = asyncio.Event()

        def strike() -> None:
            self._gateway.strike()
            killed.set()

        self._network.on_answer = strike
        try:
            await killed.wait()
        finally:
            self._network.on_answer = None

    async def _write_request(self, wanted: Phase) -> None:
        """Kill in the middle of a write, before its next part goes on; a part that waits is lost with its connection."""
        killed = asyncio.Event()

        async def watch(phase: Phase) -> bool:
            if phase is not wanted:
                return True
            self._uplink.watch = None
            await self._gateway.kill()
            killed.set()
            return False

        self._uplink.watch = watch
        try:
            await killed.wait()
        finally:
            self._uplink.watch = None
