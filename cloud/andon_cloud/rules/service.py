"""Keep the versions of the rule document and wake the gateways."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from andon_cloud.problems import Problem
from andon_cloud.rules.models import RuleDocument, RulesInForce
from andon_cloud.rules.schemas import MOST_BYTES, RulesStatusOut

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from andon_cloud.db.engine import Database
    from andon_cloud.gateways.notifier import Notifier
    from andon_cloud.identifiers import Clock
    from andon_cloud.rules.schemas import RulesIn, RulesStatus

NO_DOCUMENT_ETAG = '"0"'


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule documents. Methods raise `Problem` 412, 422 and 428."""

    database: Database
    notifier: Notifier
    clock: Clock

    async def get(self, version: int | None = None) -> RuleDocument | None:
        """A version, or the newest; None when there is none."""
        async with self.database.reading() as session:
            return await (newest(session) if version is None else session.get(RuleDocument, version))

    async def put(self, wanted: RulesIn, *, if_match: str | None, actor: str) -> RuleDocument:
        """Add a version, if the caller has edited the newest one; every connected gateway is told."""
        if wanted.version is None and if_match is None:
            raise Problem(
                428,
                "Say which version you have edited: version in the body (0 before the first), or the header If-Match.",
            )
        try:
            async with self.database.writing() as session:
                current = await newest(session)
                _check(current, wanted.version, if_match)
                row = self._row(wanted, (current.version if current else 0) + 1, actor)
                session.add(row)
                await session.flush()
        except IntegrityError as error:
            raise _overtaken(None) from error
        self.notifier.notify(*self.notifier.connected())
        return row

    async def tell(self, gateway: str, status: RulesStatus) -> None:
        """Note what a gateway has in force."""
        async with self.database.writing() as session:
            await session.merge(RulesInForce(gateway_id=gateway, told_ms=self.clock(), **status.model_dump()))

    async def in_force(self) -> list[RulesStatusOut]:
        """What the gateways have told, by gateway."""
        async with self.database.reading() as session:
            rows = await session.scalars(select(RulesInForce).order_by(RulesInForce.gateway_id))
            return [RulesStatusOut.model_validate(row) for row in rows]

    def _row(self, wanted: RulesIn, version: int, actor: str) -> RuleDocument:
        rules = wanted.model_dump(mode="json", exclude_unset=True)["rules"]
        document = orjson.dumps({"version": version, "rules": rules}).decode()
        if len(document) > MOST_BYTES:
            raise Problem(
                422, f"rules: the document has {len(document)} characters, at most {MOST_BYTES} are possible."
            )
        # The digest tells versions of different histories apart, should the database be set back to a backup.
        etag = f'"{version}-{hashlib.sha256(document.encode()).hexdigest()[:16]}"'
        return RuleDocument(version=version, etag=etag, document=document, actor=actor, created_ms=self.clock())


async def newest(session: AsyncSession) -> RuleDocument | None:
    """The document in force."""
    found: RuleDocument | None = await session.scalar(
        select(RuleDocument).order_by(RuleDocument.version.desc()).limit(1)
    )
    return found


async def newest_etag(session: AsyncSession) -> tuple[int, str] | None:
    """Version and ETag of the document in force, without reading it."""
    columns = select(RuleDocument.version, RuleDocument.etag).order_by(RuleDocument.version.desc()).limit(1)
    row = (await session.execute(columns)).one_or_none()
    return None if row is None else (row.version, row.etag)


def _check(current: RuleDocument | None, version: int | None, if_match: str | None) -> None:
    """Refuse to overwrite what the caller has not seen (RFC 9110 13.1.1)."""
    etag = current.etag if current else NO_DOCUMENT_ETAG
    if version is not None and version != (current.version if current else 0):
        raise _overtaken(current)
    if if_match is not None and if_match.strip() != "*" and etag not in (part.strip() for part in if_match.split(",")):
        raise _overtaken(current)


def _overtaken(current: RuleDocument | None) -> Problem:
    there = f"version {current.version} is there" if current else "there is another version"
    return Problem(412, f"Somebody else has changed the rules: {there}. Get them again and repeat your change.")
