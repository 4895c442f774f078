"""The uplink: spooled packs to the cloud's write endpoint, in order, deleted here only when they are stored there."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from andon_gateway.backoff import Backoff
from andon_gateway.errors import StorageUnavailable
from andon_gateway.spool.database import open_reader
from andon_gateway.spool.spool import DeadLetter, Spool, SpooledPack
from andon_gateway.uplink.lanes import BatchLimits, Lanes, Pace
from andon_gateway.uplink.lineprotocol import render

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from andon_gateway.uplink.assets import AssetTable
    from andon_gateway.uplink.lineprotocol import Asset

log = logging.getLogger(__name__)

RETRY_AFTER_MOST_S: Final = 300.0
RESEND_POLL_S: Final = 2.0
"""How often to look for dead letters to be sent again: another process puts them there, which wakes nobody."""


class Verdict(Enum):
    """What an answer of the write endpoint means for the lines that were sent."""

    STORED = "stored"
    BAD_LINES = "bad-lines"  # 400, 422: at least one line is wrong
    TOO_LARGE = "too-large"  # 413
    BUSY = "busy"  # 429, 503, other 5xx, no answer
    NOT_ALLOWED = "not-allowed"  # 401, 403, 404, the rest of 4xx, and a 400 of somebody else: only a person can mend it


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """Outcome of one write.

    Attributes:
        status: Of HTTP; 0: no answer.
        message: The reason, for people.
        retry_after_s: As the server asked.
        judged: The answer is a write endpoint's own, so that what it says of the lines is worth something.
    """

    status: int
    message: str = ""
    retry_after_s: float | None = None
    judged: bool = True

    @property
    def verdict(self) -> Verdict:
        """What to do with the lines."""
        if self.status == HTTPStatus.NO_CONTENT:
            return Verdict.STORED
        if self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY) and self.judged:
            return Verdict.BAD_LINES
        if self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Verdict.TOO_LARGE
        waits = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        if HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR and self.status not in waits:
            return Verdict.NOT_ALLOWED
        return Verdict.BUSY


class Writer(Protocol):
    """Something that writes lines to a v2 write endpoint and never raises for an answer."""

    def write(self, lines: list[str]) -> WriteAnswer:
        """Send the lines in one request."""


class _Interrupted(Exception):  # noqa: N818 -- internal signal: this batch has to wait
    def __init__(self, answer: WriteAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer


def parse_retry_after(text: str | None, now_s: float) -> float | None:
    """Retry-After (RFC 9110 10.2.3) in seconds from now, bounded; None when absent or unreadable."""
    if not text:
        return None
    try:
        wait_s = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MOST_S)


def send_lines(lines: list[str], writer: Writer) -> list[DeadLetter]:
    """Write lines, splitting to get below the size limit and to isolate bad ones.

    Returns:
        The lines that the cloud refuses for good.

    Raises:
        _Interrupted: The cloud cannot take them now; everything may be sent again.
    """
    dead: list[DeadLetter] = []
    waiting = [lines] if lines else []
    while waiting:
        part = waiting.pop()
        answer = writer.write(part)
        if answer.verdict is Verdict.STORED:
            continue
        if answer.verdict not in (Verdict.BAD_LINES, Verdict.TOO_LARGE):
            raise _Interrupted(answer)
        if len(part) == 1:
            dead.append(DeadLetter(part[0], f"{answer.status} {answer.message}"))
            continue
        middle = len(part) // 2
        waiting += [part[middle:], part[:middle]]
    return dead


def _render_all(packs: list[SpooledPack], assets: Mapping[str, Asset]) -> tuple[list[str], list[DeadLetter]]:
    """The lines of packs, and for each pack of which none can be made (a damaged row, a newer version's) what there is of it."""
    lines: list[str] = []
    unreadable: list[DeadLetter] = []
    for pack in packs:
        try:
            lines += render(pack.node, pack.boot, assets[pack.node], pack.readings)
        except Exception as fault:  # noqa: BLE001 -- whatever one row holds, those behind it go on
            what = f"node={pack.node} boot={pack.boot} arrival_ms={pack.arrival_ms} {pack.readings!r}"
            unreadable.append(DeadLetter(what, f"no line can be made of this row of the spool: {fault!r}"))
    return lines, unreadable


@dataclass(slots=True)
class UplinkCounts:
    """Counts since the start of the process, for /metrics."""

    points: int = 0
    dead_letters: int = 0
    failures: int = 0
    lag_ms: float = 0.0
    last_success_ms: int = 0


@dataclass(frozen=True, slots=True)
class UplinkPauses:
    """Sizes, pauses in seconds and the rate (see [uplink] in settings.py)."""

    batch_packs: int = 500
    batch_points: int = 5_000
    batch_age_s: float = 0.0
    live_s: float = 5.0
    points_per_s: float = 0.0
    retry_first_s: float = 0.2
    retry_most_s: float = 10.0
    refused_s: float = 15.0

    def limits(self) -> BatchLimits:
        """Size of one write; with a rate it is half a second's worth, so that live data never waits long behind the backlog."""
        points = self.batch_points
        if self.points_per_s:
            points = min(points, max(1, int(self.points_per_s / 2)))
        return BatchLimits(self.batch_packs, points, round(self.live_s * 1000))


class Uplink:
    """A thread of its own, woken by each group commit.

    Args:
        database_path: Read directly, beside the writer thread.
        spool: Rows are removed through it.
        assets: Tags by node; packs of nodes without asset are passed over until the table changes.
        writer: The cloud.
        pauses: Batch size and pauses.
    """

    def __init__(
        self,
        database_path: Path,
        spool: Spool,
        assets: AssetTable,
        writer: Writer,
        pauses: UplinkPauses | None = None,
    ) -> None:
        self._path = database_path
        self._spool = spool
        self._assets = assets
        self._writer = writer
        self._pauses = pauses or UplinkPauses()
        self._backoff = Backoff(self._pauses.retry_first_s, self._pauses.retry_most_s)
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._lanes = Lanes(self._pauses.limits())
        self._pace = Pace(self._pauses.points_per_s)
        self._assets_version = -1
        self.counts = UplinkCounts()

    def start(self) -> None:
        """Start the thread; it first sends what an earlier run left."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something new; cheap, from any thread."""
        self._news.set()

    def drain_and_stop(self, limit_s: float) -> None:
        """Send what is there in one last pass that may take `limit_s`, then stop. Blocks."""
        self._stop.set()
        self._news.set()
        self._thread.join(limit_s)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def catching_up(self) -> bool:
        """Whether a backlog is being worked off beside live data."""
        return self._lanes.catching_up

    def _run(self) -> None:
        reader = open_reader(self._path)
        try:
            while True:
                last_pass = self._stop.is_set()
                self._news.clear()
                pause_s = self._pass(reader)
                if last_pass:
                    return
                if pause_s is not None:
                    self._stop.wait(pause_s)
                elif self._news.wait(RESEND_POLL_S):
                    # Packs that arrive together go together.
                    self._stop.wait(self._pauses.batch_age_s)
        finally:
            reader.close()

    def _pass(self, reader: sqlite3.Connection) -> float | None:
        """Send until nothing is left; None then, or the pause before the next attempt."""
        try:
            self._send_again(reader)
            while self._keep_pace() and self._send_batch(reader):
                self._backoff.reset()
        except _Interrupted as interruption:
            return self._pause(interruption.answer)
        except StorageUnavailable as error:
            self._lanes.restart()
            log.warning("stored at the cloud but not yet removed from the spool: %s", error)
            return self._backoff.next_s()
        except Exception:  # the thread is the only way to the cloud: it reports and tries again
            self._lanes.restart()
            log.exception("uplink failed unexpectedly; trying again")
            return self._backoff.next_s()
        finally:
            self._spool.release()
        return None

    def _keep_pace(self) -> bool:
        """Wait for the rate; False when the gateway stops meanwhile: the rest waits for its next start."""
        wait_s = self._pace.wait_s(time.monotonic())
        return wait_s == 0 or not self._stop.wait(wait_s)

    def _send_batch(self, reader: sqlite3.Connection) -> bool:
        version, assets = self._assets.snapshot()
        if version != self._assets_version:
            self._assets_version = version
            self._lanes.restart()
        if not assets:
            return False  # nothing has a place yet; a new table begins at the oldest pack
        now_ms = time.time_ns() // 1_000_000
        batch = self._spool.claim(lambda: self._lanes.next(reader, now_ms), lambda found: found.packs if found else [])
        if batch is None:
            return False
        ready = [pack for pack in batch.packs if pack.node in assets]
        if ready:
            lines, unreadable = _render_all(ready, assets)
            self._pace.spend(len(lines), time.monotonic())
            dead = [*unreadable, *send_lines(lines, self._writer)]
            self._spool.remove([pack.id for pack in ready], dead)
            self._note_success(ready, [*lines, *(letter.line for letter in unreadable)], dead)
        self._lanes.done(batch)
        return True

    def _send_again(self, reader: sqlite3.Connection) -> None:
        """Send dead letters that a person wants to be sent again (`andon-gateway dead-letters replay`)."""
        query = "SELECT id, line FROM resend ORDER BY id LIMIT ?"
        while (rows := reader.execute(query, (self._pauses.batch_packs,)).fetchall()) and self._keep_pace():
            lines = [line for _, line in rows]
            self._pace.spend(len(lines), time.monotonic())
            dead = send_lines(lines, self._writer)
            self._spool.remove((), dead, [row for row, _ in rows])
            self._note_success([], lines, dead)

    def _note_success(self, packs: list[SpooledPack], lines: list[str], dead: list[DeadLetter]) -> None:
        now_ms = time.time_ns() // 1_000_000
        self.counts.points += len(lines) - len(dead)
        self.counts.dead_letters += len(dead)
        if packs:
            self.counts.lag_ms = max(0.0, now_ms - packs[0].arrival_ms)
        self.counts.last_success_ms = now_ms
        for letter in dead:
            log.error("the cloud refuses a line, kept as dead letter: reason=%r line=%r", letter.reason, letter.line)

    def _pause(self, answer: WriteAnswer) -> float:
        self.counts.failures += 1
        if answer.verdict is Verdict.NOT_ALLOWED:
            log.error(
                "the cloud answers %d (%s): check cloud.url, org, bucket and the token; everything stays in the spool",
                answer.status,
                answer.message,
            )
            return self._pauses.refused_s
        pause_s = self._backoff.next_s()
        if answer.retry_after_s is not None:
            pause_s = max(pause_s, answer.retry_after_s)
        log.warning("cloud not available: status=%d retry_in_s=%.1f (%s)", answer.status, pause_s, answer.message)
        return pause_s
