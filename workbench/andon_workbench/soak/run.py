"""`andon soak`: a factory on the fast clock, faults under a seed, and an account of everything in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from andon_workbench.checkout import find_checkout
from andon_workbench.errors import CloudApiError, ComponentError
from andon_workbench.factory import Factory
from andon_workbench.scratch import scratch_folder
from andon_workbench.soak import fast_clock
from andon_workbench.soak.account import account_for
from andon_workbench.soak.faults import FaultInjector
from andon_workbench.soak.heap import runs, slope
from andon_workbench.soak.operators import Operators
from andon_workbench.soak.outputs import Excess, energised, excess
from andon_workbench.soak.plan import SPEED, Victim, draw_faults, factory_plan
from andon_workbench.soak.summary import SoakSummary
from andon_workbench.soak.turns import Turns
from andon_workbench.traffic import RELAY
from andon_workbench.world.runner import monotonic_us

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from andon_workbench.soak.account import Account
    from andon_workbench.soak.fast_clock import FastClock
    from andon_workbench.soak.heap import Run
    from andon_workbench.soak.plan import SoakOptions

HOLD_S = 120
# Boards wait for a whole tick; half a second at most, so that a lease ends within the second that is tolerated.
_TICK_MS = 400
_START_LIMIT_REAL_S = 120.0
_DRAIN_LIMIT_REAL_S = 180.0
_COMMANDS_LIMIT_S = 900.0
_STATUS_REAL_S = 15.0
_LOOK_S = 2.0
_BOARDS_NICE = 5
_WARM_UP_S = 900.0


def enter_fast_clock(options: SoakOptions) -> None:
    """Make this process live on the fast clock; returns only if it does already.

    Raises:
        MissingPartError: there is no C compiler, or this is no Linux.
    """
    if fast_clock.current() is None:
        tick_ms = min(_TICK_MS, round(_TICK_MS * options.speed / SPEED))
        library = fast_clock.build(Path(tempfile.mkdtemp(prefix="andon-clock-")))
        turns = library.with_name("turns")
        turns.mkdir()
        fast_clock.enter(sys.argv, fast_clock.environment(library, options.speed, tick_ms, turns))


async def run_soak(options: SoakOptions, console: Console, *, keep: bool) -> SoakSummary:
    """Run a factory through its simulated time.

    Raises:
        WorkbenchError: something is missing or could not be started.
    """
    clock = fast_clock.current()
    if clock is None:
        raise ComponentError("the soak runs on the fast clock only: enter it first")
    with scratch_folder(console, keep=keep) as folder:
        console.print(f"[dim]{options.nodes} nodes, {options.hours:g} h at {options.speed} times; logs in {folder}")
        async with Factory(factory_plan(options, HOLD_S), find_checkout(), folder) as factory:
            processes: dict[str, list[int]] = {name: [] for name in factory.boards}
            courtesy = asyncio.create_task(_let_servers_go_first(factory, processes), name="priorities")
            try:
                silent = await factory.first_readings(_START_LIMIT_REAL_S * options.speed)
                if silent:
                    raise ComponentError(f"no reading from {', '.join(silent)}: a lower --speed helps a slow machine")
                return await _Soak(factory, options, clock, console, processes).execute()
            finally:
                courtesy.cancel()


async def _let_servers_go_first(factory: Factory, processes: dict[str, list[int]]) -> None:
    """Give boards what gateway and cloud leave of the CPU: a late answer costs repeats, and these cost more CPU.

    Notes each board's processes in `processes`.
    """
    while True:
        for name, board in factory.boards.items():
            pid = board.pid
            if pid is not None and pid not in processes[name]:
                processes[name].append(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, pid, _BOARDS_NICE)
        await asyncio.sleep(_LOOK_S)


class _Soak:
    """One soak of a factory that has started."""

    def __init__(
        self,
        factory: Factory,
        options: SoakOptions,
        clock: FastClock,
        console: Console,
        processes: Mapping[str, Sequence[int]],
    ) -> None:
        self._factory = factory
        self._options = options
        self._clock = clock
        self._console = console
        self._processes = processes
        self._began_s = time.monotonic()
        self._faults = FaultInjector(factory, draw_faults(options, list(factory.boards)), self._began_s)
        self._operators = Operators(factory.api, list(factory.boards), options.seed, options.seconds)

    async def execute(self) -> SoakSummary:
        status = asyncio.create_task(self._show_status(), name="status lines")
        try:
            await self._live()
            await self._operators.close(_COMMANDS_LIMIT_S)
            account = await self._drain()
            return await self._summary(account)
        finally:
            status.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await status
            await self._operators.abandon()
            await self._faults.abandon()

    async def _live(self) -> None:
        end_s = self._began_s + self._options.seconds
        while time.monotonic() < end_s or not self._faults.finished:
            self._factory.nodes.check()
            await asyncio.sleep(_LOOK_S)

    async def _drain(self) -> Account:
        """End the shift, unplug the sensors, and look until everything is explained or nothing more is to be expected."""
        world, ledger = self._factory.world, self._factory.ledger
        world.shut_down_machines()
        while not world.quiet:  # noqa: ASYNC110  the world is stepped by a task and announces nothing
            await asyncio.sleep(_LOOK_S)
        world.unplug_sensors()
        end_s = time.monotonic() + _DRAIN_LIMIT_REAL_S * self._options.speed
        before: Account | None = None
        while True:
            # The counters are final one sample after the last pulse.
            await asyncio.sleep(self._options.sample_s + _LOOK_S)
            self._factory.nodes.check()
            try:
                account = account_for(ledger, await self._factory.stored())
            except CloudApiError:
                if time.monotonic() > end_s:
                    raise
                continue
            if (account.settled and account == before) or time.monotonic() > end_s:
                return account
            before = account

    async def _summary(self, account: Account) -> SoakSummary:
        factory, options = self._factory, self._options
        now_us = monotonic_us()
        beyond, on = Excess(), 0.0
        for node, issued in self._operators.issued.items():
            intervals = energised(factory.ledger.node(node).contacts, RELAY, now_us)
            beyond += excess(intervals, issued.on, self._faults.silences, HOLD_S, self._turns(node))
            on += sum(interval.end_us - interval.start_us for interval in intervals) / 1_000_000
        newest = [item for item in await factory.api.latest("node") if item.field == "dropped"]
        return SoakSummary(
            nodes=options.nodes,
            hours=options.hours,
            power_cuts=self._faults.done[Victim.NODE],
            outages=self._faults.done[Victim.GATEWAY] + self._faults.done[Victim.CLOUD],
            account=account,
            dropped_declared=sum(int(item.value) for item in newest),
            excess=beyond,
            outputs_unseen=sum(node.coil_changes_unseen for node in factory.ledger.nodes.values()),
            output_on_s=on,
            heap_slope=slope([run for node in factory.boards for run in await self._heap_runs(node)]),
            commands=sum(issued.commands for issued in self._operators.issued.values()),
            confirmed=sum(issued.confirmed for issued in self._operators.issued.values()),
            crashes=sum(board.crashes + board.resets for board in factory.boards.values()),
            datagrams_lost=factory.proxy.counts.lost.total() if factory.proxy is not None else 0,
            speed=options.speed,
            wall_s=(time.monotonic() - self._began_s) / options.speed,
        )

    def _turns(self, node: str) -> Turns:
        folder = fast_clock.turns_folder()
        return Turns() if folder is None else Turns.read(folder / str(pid) for pid in self._processes[node])

    async def _heap_runs(self, node: str) -> list[Run]:
        samples = await self._factory.api.history("node", "heap_free", node)
        starts_ms = [self._clock.epoch_ms(us) for us in self._faults.powered_us[node]]
        commands_ms = [self._clock.epoch_ms(us) for us in self._operators.issued[node].ends_us]
        return runs(samples, starts_ms, commands_ms, min(_WARM_UP_S, self._options.seconds / 10) * 1000)

    async def _show_status(self) -> None:
        while True:
            await asyncio.sleep(_STATUS_REAL_S * self._options.speed)
            self._console.print(self._status(), style="dim", highlight=False)

    def _status(self) -> str:
        factory, done = self._factory, self._faults.done
        hours = (time.monotonic() - self._began_s) / 3600
        return (
            f"{hours:.1f} h · readings {factory.ledger.taken} · cycles {factory.ledger.cycles} · power cuts {done[Victim.NODE]}"
            f" · outages {done[Victim.GATEWAY] + done[Victim.CLOUD]}"
            f" · gateway {'up' if factory.gateway.running else 'DOWN'} · cloud {'up' if factory.cloud.running else 'DOWN'}"
        )
