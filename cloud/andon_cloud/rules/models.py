"""Table of the rule documents; every version stays, so that the log of changes is complete and an old one can be put back."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base


class RuleDocument(Base):
    """One version of the plant's rules."""

    __tablename__ = "rule_documents"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    etag: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(Text)  # JSON, as gateways get it
    actor: Mapped[str] = mapped_column(String(100))
    created_ms: Mapped[int] = mapped_column(BigInteger)
