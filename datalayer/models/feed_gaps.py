"""Holes that live feeds know of."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Identity,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


class FeedGap(Base):
    """A hole in what a feed has brought of one series, and what became of it."""

    __tablename__ = "feed_gaps"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    symbol: Mapped[str] = mapped_column(Text, comment="canonical")
    kind: Mapped[str] = mapped_column(Text, comment="candles, trades or order_books")
    timeframe: Mapped[int | None] = mapped_column(Integer, comment="length in seconds; NULL: no candles")
    start_ts: Mapped[datetime] = mapped_column(
        DateTime(timezone=True),
        comment="first missing open time, or time of the last event before, UTC",
    )
    end_ts: Mapped[datetime] = mapped_column(
        DateTime(timezone=True),
        comment="open time after the last missing, or time of the first event after, UTC",
    )
    source: Mapped[str] = mapped_column(Text, comment="exchange")
    cause: Mapped[str] = mapped_column(Text, comment="restart, reconnect or sequence")
    missing: Mapped[int | None] = mapped_column(BigInteger, comment="records missing; NULL: unknown")
    first_id: Mapped[int | None] = mapped_column(BigInteger, comment="first missing trade id")
    last_id: Mapped[int | None] = mapped_column(BigInteger, comment="last missing trade id, included")
    state: Mapped[str] = mapped_column(
        Text, server_default=text("'open'"), comment="open, filled or lost (the exchange does not have it)"
    )
    filled: Mapped[int] = mapped_column(BigInteger, server_default=text("0"), comment="records filled")
    detected_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )
    changed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )

    __table_args__ = (
        CheckConstraint("kind IN ('candles', 'trades', 'order_books')", name="kind"),
        CheckConstraint("(kind = 'candles') = (timeframe IS NOT NULL)", name="timeframe"),
        CheckConstraint("start_ts <= end_ts", name="range"),
        CheckConstraint("cause IN ('restart', 'reconnect', 'sequence')", name="cause"),
        CheckConstraint("state IN ('open', 'filled', 'lost')", name="state"),
        CheckConstraint("(first_id IS NULL) = (last_id IS NULL) AND first_id <= last_id", name="ids"),
        Index(None, "symbol", "start_ts"),
        {"comment": "holes that live feeds know of, and what became of them"},
    )
