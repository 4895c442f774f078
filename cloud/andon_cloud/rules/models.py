"""Tables of the rules: the documents, and what each gateway has in force."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from andon_cloud.db.base import Base


class RuleDocument(Base):
    """One version of the plant's rules. None is ever removed, so that each change has its author and an old one can be put back."""

    __tablename__ = "rule_documents"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    etag: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(Text)  # JSON, as gateways get it
    actor: Mapped[str] = mapped_column(String(100))
    created_ms: Mapped[int] = mapped_column(BigInteger)


class RulesInForce(Base):
    """What a gateway has told about its rules."""

    __tablename__ = "rules_in_force"

    gateway_id: Mapped[str] = mapped_column(ForeignKey("gateways.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    rules: Mapped[int] = mapped_column(Integer)
    refused: Mapped[str] = mapped_column(String(500))
    told_ms: Mapped[int] = mapped_column(BigInteger)
