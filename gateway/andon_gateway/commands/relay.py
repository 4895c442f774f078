"""Executes relay commands at the nodes: one in flight per node, in order, never after their expiry."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client import Histogram

from andon_gateway.backoff import Backoff
from andon_gateway.commands.queue import CommandStore, Execution, RelayCommand
from andon_gateway.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from andon_gateway.nodes.table import Address, NodeTable

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 0.25  # after an ICMP error, which comes at once
RETRY_MOST_S: Final = 2.0
# The CoAP layer's own repetitions could leave the gateway after the expiry, so they are made here: RFC 7252's ACK_TIMEOUT and
# ACK_RANDOM_FACTOR (4.8), doubled each time, but not beyond what a person at a switch would wait for.
ACK_FIRST_S: Final = 3.0  # jittered down to half of it by Backoff
ACK_MOST_S: Final = 8.0
LATENCY_BUCKETS_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
SUCCESS, CLIENT_ERROR, SERVER_ERROR = 2, 4, 5  # classes of CoAP codes (RFC 7252 12.1.2)
PRECONDITION_FAILED: Final = (4, 12)
SERVICE_UNAVAILABLE: Final = (5, 3)
NO_ANSWER: Final = "no answer from the node; the relay's state is unknown"


class NodeAnswer(Protocol):
    """A CoAP response: code as (class, detail), and payload."""

    code: tuple[int, int]
    payload: bytes


class NodeClient(Protocol):
    """Sends confirmable requests to nodes from the gateway's own port."""

    async def put_json(self, node: str, address: Address, path: str, payload: bytes, patience_s: float) -> NodeAnswer:
        """One confirmable message, not repeated: the runner repeats, because it knows the expiry.

        Raises:
            OSError: Not acknowledged within `patience_s`, or the node is not there.
        """


class CommandRunner:
    """One task per node that has commands waiting.

    Args:
        store: The commands on disk.
        nodes: Addresses, and news about them.
        client: CoAP.
        now_ms: Clock, ms since the epoch.
        on_report: Called when there is something new for the cloud.
    """

    def __init__(
        self,
        store: CommandStore,
        nodes: NodeTable,
        client: NodeClient,
        now_ms: Callable[[], int],
        on_report: Callable[[], None],
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._client = client
        self._now_ms = now_ms
        self._on_report = on_report
        self.on_end: Callable[[RelayCommand, Execution], None] = lambda _command, _execution: None
        """Told how each command ended, after that is durable."""
        self._waiting: dict[str, deque[RelayCommand]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.results: Counter[str] = Counter()
        self.latency = Histogram(
            "andon_gateway_command_seconds",
            "Command taken from the cloud until its result is known",
            buckets=LATENCY_BUCKETS_S,
            registry=None,
        )
        self._taken_ms: dict[str, int] = {}

    async def resume(self) -> None:
        """Take up the commands that an earlier run left open."""
        for command in await asyncio.wrap_future(self._store.open_commands()):
            self._enqueue(command)

    async def take(self, command: RelayCommand) -> None:
        """Accept a command from the cloud; executed only if it is new.

        Raises:
            StorageUnavailable: It could not be kept; the cloud will send it again.
        """
        if await asyncio.wrap_future(self._store.take(command, self._now_ms())):
            self.results["taken"] += 1
            self._taken_ms[command.id] = self._now_ms()
            self._enqueue(command)
        self._on_report()

    def adopt(self, commands: Sequence[RelayCommand]) -> None:
        """Execute commands that were issued and made durable here at the gateway (rules/actions.py)."""
        for command in commands:
            self.results["taken"] += 1
            self._taken_ms[command.id] = self._now_ms()
            self._enqueue(command)
        self._on_report()

    async def stop(self) -> None:
        """Stop all tasks; open commands stay on disk for the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    def _enqueue(self, command: RelayCommand) -> None:
        self._waiting.setdefault(command.node, deque()).append(command)
        if command.node not in self._tasks:
            task = asyncio.create_task(self._work_off(command.node), name=f"commands {command.node}")
            self._tasks[command.node] = task

    async def _work_off(self, node: str) -> None:
        waiting = self._waiting[node]
        try:
            while waiting:
                command = waiting[0]
                execution = await self._execute(command)
                await self._finish(command, execution)
                waiting.popleft()
        finally:
            del self._tasks[node], self._waiting[node]

    async def _finish(self, command: RelayCommand, execution: Execution) -> None:
        """Note the result, however long the disk takes: without it the command would run again after a restart."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        while True:
            try:
                await asyncio.wrap_future(self._store.finish(command, execution, self._now_ms()))
                break
            except StorageUnavailable:
                await asyncio.sleep(backoff.next_s())
        self.results[execution.result] += 1
        if (taken_ms := self._taken_ms.pop(command.id, None)) is not None:
            self.latency.observe(max(0, self._now_ms() - taken_ms) / 1000)
        self.on_end(command, execution)
        log.info("command id=%s node=%s result=%s detail=%r", command.id, command.node, *_told(execution))
        self._on_report()

    async def _execute(self, command: RelayCommand) -> Execution:
        pauses = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        patience = Backoff(ACK_FIRST_S, ACK_MOST_S)
        problem = "the node has not registered"
        news = self._nodes.watch(command.node)
        try:
            while (remaining_s := (command.expires_ms - self._now_ms()) / 1000) > 0:
                news.clear()
                entry = self._nodes.get(command.node)
                pause_s = remaining_s
                if entry is not None:
                    limits = (min(patience.next_s(), remaining_s), remaining_s)
                    attempt = await self._attempt(command, entry.address, limits, news)
                    if isinstance(attempt, Execution):
                        return attempt
                    problem, pause_s = attempt, pauses.next_s()
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), min(pause_s, remaining_s))
        finally:
            self._nodes.unwatch(command.node, news)
        return Execution("expired", None, f"expired at the gateway: {problem}")

    async def _attempt(
        self, command: RelayCommand, address: Address, limits: tuple[float, float], news: asyncio.Event
    ) -> Execution | str:
        """One exchange; a text says why to try again.

        Args:
            command: What to execute.
            address: Where.
            limits: Seconds until the acknowledgement must be there, and until the answer must be (the expiry).
            news: Set when the node registers; if it did so from elsewhere, the exchange is given up.
        """
        body = {
            "id": command.id,
            "state": command.state,
            "lease_s": command.lease_s,
            "expires_ms": command.expires_ms,
        }
        request = asyncio.ensure_future(
            self._client.put_json(
                command.node,
                address,
                f"relay/{command.relay}",
                json.dumps(body, separators=(",", ":")).encode(),
                limits[0],
            )
        )
        moved = asyncio.ensure_future(self._moved(command.node, address, news))
        try:
            await asyncio.wait({request, moved}, timeout=limits[1], return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                return "the node moved" if moved.done() else NO_ANSWER
            return judge(request.result(), expected=command.state)
        except OSError as error:
            return f"{NO_ANSWER} ({error})"
        finally:
            request.cancel()
            moved.cancel()

    async def _moved(self, node: str, address: Address, news: asyncio.Event) -> None:
        """Wait until the node is known at another address."""
        while (entry := self._nodes.get(node)) is None or entry.address == address:
            news.clear()
            await news.wait()


def judge(answer: NodeAnswer, *, expected: bool) -> Execution | str:
    """What the node's answer to a relay PUT means: an end, or (a text) a reason to try again."""
    kind = answer.code[0]
    text = answer.payload[:200].decode(errors="replace")
    if kind == SUCCESS:
        try:
            contact = json.loads(answer.payload)["contact"]
        except (ValueError, KeyError, TypeError):
            contact = None
        if not isinstance(contact, bool):
            return Execution("failed", None, "the node's answer has no contact state")
        if contact != expected:
            return Execution("failed", contact, "the contact is not in the commanded state")
        return Execution("acknowledged", contact, "")
    diagnostic = f"{answer.code[0]}.{answer.code[1]:02d} {text}".strip()
    if answer.code == PRECONDITION_FAILED:
        return Execution("expired", None, f"expired at the node: {diagnostic}")
    if answer.code == SERVICE_UNAVAILABLE:
        return f"the node is not ready: {diagnostic}"
    return Execution("failed", None, f"the node answered {diagnostic}")


def _told(execution: Execution) -> tuple[str, str]:
    return execution.result, execution.detail
