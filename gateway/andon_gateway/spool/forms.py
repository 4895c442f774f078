"""What the readings of packed rows are called: the table `form` holds each text once, and the rows hold its id.

The table is bounded, whatever nodes send: packs of forms beyond the bound carry their text themselves (packed.py), until forms that no
row needs any more have been removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from andon_gateway.spool.packed import layout_text

if TYPE_CHECKING:
    import sqlite3

    from andon_gateway.senml.columns import Form

MOST_FORMS: Final = 1024
"""A text has at most 2 kB and is there twice, in the table and its index; these bytes are in no quota."""
MOST_REFUSED: Final = 4096
"""Packs written with their text, after which a look for forms that are not needed is worth its reading of all rows."""
_MOST_KNOWN: Final = 4096
_UNUSED: Final = (
    "id NOT IN (SELECT form FROM spool WHERE form IS NOT NULL UNION SELECT form FROM quarantine WHERE form IS NOT NULL)"
)


class Forms:
    """The forms in use. Used in the writer thread, inside its transactions.

    Attributes:
        known: What a row says of its form: the id, or the text where there was no room; to be looked at before `add`.
        refused: Packs that had to carry their text since the last `tidy`; counted by who writes them.
    """

    def __init__(self) -> None:
        self.known: dict[Form, int | str] = {}
        self.refused = 0

    def add(self, connection: sqlite3.Connection, form: Form) -> int | str:
        """What rows say of a form that is not in `known`; inside the transaction that writes the first of them."""
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        text = layout_text(form)
        named = self.known[form] = _id(connection, text) or text
        return named

    def tidy(self, connection: sqlite3.Connection) -> None:
        """Remove the forms that no row refers to; all rows must have been written. Reads all rows."""
        connection.execute(f"DELETE FROM form WHERE {_UNUSED}")  # noqa: S608 -- constant
        self.forget()

    def forget(self) -> None:
        """Drop what mirrors the database, after a failed commit: the ids given in it may be given again."""
        self.known.clear()
        self.refused = 0


def _id(connection: sqlite3.Connection, text: str) -> int | None:
    """Of a form, new or not; None: there is no room for another one."""
    found = connection.execute("SELECT id FROM form WHERE text = ?", (text,)).fetchone()
    if found is not None:
        return int(found[0])
    if connection.execute("SELECT count(*) FROM form").fetchone()[0] >= MOST_FORMS:
        return None
    return connection.execute("INSERT INTO form (text) VALUES (?)", (text,)).lastrowid
