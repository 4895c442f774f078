"""What `andon-gateway check` says about the rules that are on disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from andon_gateway.rules.document import RulesError, parse_document
from andon_gateway.spool.database import open_reader

if TYPE_CHECKING:
    from pathlib import Path


def rules_on_disk(path: Path) -> str:
    """One line about the document in a gateway's database; works beside the running gateway."""
    none = "none on disk; they come from the cloud"
    try:
        if not path.is_file():
            return none
        with closing(open_reader(path)) as reader:
            row = reader.execute("SELECT text FROM rule_document").fetchone()
    except OSError as error:
        return f"cannot be read ({error.strerror})"  # for whoever checks is not always who runs the gateway
    except sqlite3.Error as error:
        # A file of an earlier version has no such table; it is upgraded at the next start.
        return none if "no such table" in str(error) else f"cannot be read ({error})"
    if row is None:
        return none
    try:
        document = parse_document(row[0])
    except RulesError as error:
        return f"those on disk cannot be used, none will be in force: {error}"
    relays = sum(rule.action is not None for rule in document.rules)
    return f"version {document.version}: {len(document.rules)} rules, {relays} of them switch a relay"
