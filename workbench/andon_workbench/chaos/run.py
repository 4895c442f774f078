"""`andon chaos`: kill -9 of the gateway under load, loss and an absent database, and an account in the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from andon_workbench.chaos.cutter import Cutter
from andon_workbench.chaos.factory import ChaosFactory, TotalsWatch
from andon_workbench.chaos.killer import Killer
from andon_workbench.chaos.plan import draw_cuts, draw_kills
from andon_workbench.chaos.summary import ChaosSummary
from andon_workbench.checkout import find_checkout
from andon_workbench.errors import CloudApiError, ComponentError
from andon_workbench.faults.udp_proxy import Impairment
from andon_workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from rich.console import Console

    from andon_workbench.chaos.account import Count
    from andon_workbench.chaos.plan import ChaosOptions

_START_LIMIT_S = 120.0
# A repeat may be twelve seconds away, an uplink's pause ten; the rest is for a machine with other work.
_STUCK_S = 90.0
_STATUS_S = 15.0
_LOOK_S = 2.0
_DRAIN_LOOK_S = 0.5


async def run_chaos(options: ChaosOptions, console: Console, *, keep: bool) -> ChaosSummary:
    """Run a factory through all kills, let it come to rest and compare.

    Raises:
        WorkbenchError: something is missing or could not be started.
    """
    with scratch_folder(console, keep=keep) as folder:
        console.print(f"[dim]{options.nodes} nodes, {options.kills} kills, seed {options.seed}; logs in {folder}")
        async with ChaosFactory(options, find_checkout(), folder) as factory:
            if silent := await factory.first_readings(_START_LIMIT_S):
                raise ComponentError(f"no reading from {', '.join(silent)}: fewer --nodes help a slow machine")
            return await _Chaos(factory, options, console).execute()


class _Chaos:
    """One run of a factory that has started."""

    def __init__(self, factory: ChaosFactory, options: ChaosOptions, console: Console) -> None:
        self._factory = factory
        self._options = options
        self._console = console
        log = factory.gateway.state_folder / "gateway.sqlite3-wal"
        self._killer = Killer(factory.gateway, factory.write_uplink, log, factory.network)
        self._cutter = Cutter(factory, draw_cuts(options))
        self._watch = TotalsWatch(factory)
        self._nodes = factory.build_lean_nodes()
        self._began = time.monotonic()

    async def execute(self) -> ChaosSummary:
        background = [asyncio.create_task(node.run(), name=f"lean node {node.name}") for node in self._nodes]
        background += [
            asyncio.create_task(self._show_status(), name="status lines"),
            asyncio.create_task(self._watch_totals(), name="totals"),
        ]
        try:
            await self._rage(background)
            return await self._rest()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _rage(self, background: list[asyncio.Task[None]]) -> None:
        """All kills, with the database cut off now and then; ends with everything up again."""
        enough = asyncio.Event()
        cutting = asyncio.create_task(self._cutter.run(enough), name="cuts")
        try:
            for kill in draw_kills(self._options):
                self._check([*background, cutting])
                await self._killer.carry_out(kill)
            await self._killer.start()
        finally:
            enough.set()
            await cutting

    def _check(self, background: list[asyncio.Task[None]]) -> None:
        """Raise what ended a task that should not have ended."""
        self._factory.nodes.check()
        for task in background:
            if task.done():
                task.result()

    async def _rest(self) -> ChaosSummary:
        """The shift ends and the network heals: nothing new happens, what is under way arrives."""
        self._factory.impair(Impairment())
        for node in self._nodes:
            node.stop_measuring()
        await self._everything_acknowledged()
        boards = await self._factory.drain(_STUCK_S)
        while (again := await self._factory.drain(_STUCK_S)).missing < boards.missing:
            boards = again
        count = await self._settled_account()
        await self._watch.look()
        health = await self._factory.api.latest("node")
        return ChaosSummary(
            kills={str(moment): times for moment, times in self._killer.done.items()},
            nodes=self._options.nodes,
            oscore=self._options.oscore,
            store=self._options.store,
            count=count,
            boards=boards,
            falls=count.falls + self._watch.falls + await self._factory.falls_of_boards(),
            dropped_declared=sum(int(newest.value) for newest in health if newest.field == "dropped"),
            waiting=self._waiting(),
            refused=[line for node in self._nodes for line in node.refused],
            transmissions=sum(node.transmissions for node in self._nodes),
            boots=sum(node.boots for node in self._nodes),
            cuts={str(cut): times for cut, times in self._cutter.done.items()},
            cut_share=self._cutter.away_s / self._cutter.over_s if self._cutter.over_s else 0.0,
            datagrams_lost=self._proxy_count("lost"),
            datagrams_doubled=self._proxy_count("doubled"),
            seconds=time.monotonic() - self._began,
        )

    async def _everything_acknowledged(self) -> None:
        """Wait until no lean node has a pack left, as long as they get on."""
        least, since = self._waiting(), time.monotonic()
        while least and time.monotonic() - since < _STUCK_S:
            await asyncio.sleep(_DRAIN_LOOK_S)
            if self._waiting() < least:
                least, since = self._waiting(), time.monotonic()

    async def _settled_account(self) -> Count:
        """The account when nothing is missing any more, or when no more is to be expected."""
        end = time.monotonic() + _STUCK_S
        while True:
            try:
                count = await self._factory.account()
            except CloudApiError:
                if time.monotonic() > end:
                    raise
            else:
                if not count.lost or time.monotonic() > end:
                    return count
            await asyncio.sleep(_DRAIN_LOOK_S)

    async def _watch_totals(self) -> None:
        while True:
            with contextlib.suppress(CloudApiError):
                await self._watch.look()
            await asyncio.sleep(_LOOK_S)

    async def _show_status(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_S)
            self._console.print(self._status(), style="dim", highlight=False)

    def _status(self) -> str:
        acknowledged = sum(len(node.packs) - node.waiting for node in self._nodes)
        return (
            f"{time.monotonic() - self._began:.0f} s · kills {self._killer.done.total()}/{self._options.kills}"
            f" · packs {acknowledged} acknowledged, {self._waiting()} waiting · cuts {self._cutter.done.total()}"
            f" · start of the gateway {self._killer.start_s:.1f} s"
        )

    def _waiting(self) -> int:
        return sum(node.waiting for node in self._nodes)

    def _proxy_count(self, what: str) -> int:
        return int(getattr(self._factory.network.counts, what).total())
