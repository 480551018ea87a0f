"""The history of the switch from Parquet to the database."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


class RolloutPhase(Base):
    """A phase that was entered, forward or back; the last row is the present one."""

    __tablename__ = "rollout_phases"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    phase: Mapped[int] = mapped_column(SmallInteger, comment="0 to 6; the last row is the present one")
    entered_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )
    note: Mapped[str] = mapped_column(Text, comment="what was checked")

    __table_args__ = (
        CheckConstraint("phase BETWEEN 0 AND 6", name="phase"),
        {"comment": "history of the switch from Parquet to the database"},
    )


class ShadowRead(Base):
    """A read that was made from Parquet and from the database, and compared."""

    __tablename__ = "shadow_reads"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    read_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )
    symbol: Mapped[str] = mapped_column(Text, comment="canonical")
    timeframe: Mapped[int] = mapped_column(Integer, comment="length in seconds")
    compared: Mapped[int] = mapped_column(BigInteger, comment="rows that either side has")
    different: Mapped[int] = mapped_column(BigInteger, comment="rows that the sides do not agree on")
    detail: Mapped[str | None] = mapped_column(Text, comment="the first that differs; NULL: none")

    __table_args__ = (
        Index(None, "read_at"),
        {"comment": "reads that were made from Parquet and from the database, and compared"},
    )
