"""Lines that the cloud refused for good: kept with the reason, inspected, sent again or thrown away by a person."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from andon_gateway.errors import SettingsError
from andon_gateway.spool.database import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST_DEAD_LETTERS: Final = 10_000
BUSY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A line that the cloud refused for good, and why."""

    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter on disk: number, time of the refusal in ms since the epoch, line and reason."""

    id: int
    at_ms: int
    line: str
    reason: str


def keep(connection: sqlite3.Connection, letters: Sequence[DeadLetter], now_ms: int) -> int:
    """Add letters inside a transaction; beyond `MOST_DEAD_LETTERS` the oldest go. Gives the number of those."""
    connection.executemany(
        "INSERT INTO dead_letter (at_ms, line, reason) VALUES (?, ?, ?)",
        [(now_ms, letter.line, letter.reason) for letter in letters],
    )
    return connection.execute(
        "DELETE FROM dead_letter WHERE id <= (SELECT max(id) FROM dead_letter) - ?", (MOST_DEAD_LETTERS,)
    ).rowcount


class DeadLetterBox:
    """The dead letters in a gateway's database; works beside the running gateway, which owns the schema.

    Args:
        path: The database.

    Raises:
        SettingsError: There is no database of this version; of the other methods: it cannot be read or changed now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if not path.is_file():
                raise SettingsError(f"{path}: no such file; the gateway has not run with this configuration yet")
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"{path}: cannot be used ({error})") from None
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise SettingsError(
                f"{path} has schema {version}, this command knows {SCHEMA_VERSION}; start the installed gateway once"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._connection.close()
        if isinstance(error, sqlite3.Error):
            raise SettingsError(
                f"{self._path}: nothing was changed ({error}); is it yours, and is there room?"
            ) from None

    def letters(self, ids: Sequence[int] = (), most: int = -1) -> list[KeptLetter]:
        """Letters by number, or all; oldest first."""
        query = "SELECT id, at_ms, line, reason FROM dead_letter WHERE ?1 OR id IN (SELECT value FROM json_each(?2)) ORDER BY id LIMIT ?3"
        return [KeptLetter(*row) for row in self._connection.execute(query, (not ids, _json(ids), most))]

    def replay(self, ids: Sequence[int] = ()) -> int:
        """Hand letters, or all, to the uplink again; gives their number. Refused again, they come back."""
        return self._move("INSERT INTO resend (line) SELECT line FROM dead_letter", ids)

    def purge(self, ids: Sequence[int] = ()) -> int:
        """Delete letters, or all; gives their number."""
        return self._move(None, ids)

    def _move(self, insert: str | None, ids: Sequence[int]) -> int:
        chosen = " WHERE ?1 OR id IN (SELECT value FROM json_each(?2))"
        parameters = (not ids, _json(ids))
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if insert:
                self._connection.execute(f"{insert}{chosen} ORDER BY id", parameters)
            return self._connection.execute(f"DELETE FROM dead_letter{chosen}", parameters).rowcount  # noqa: S608 -- constants


def _json(ids: Sequence[int]) -> str:
    return "[" + ",".join(map(str, ids)) + "]"
