"""Candles as stored: from an exchange, an import or a tick aggregation."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
)
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base, hypertable
from datalayer.models.windows import CANDLES


class Candle(Base):
    """One candle of one timeframe, keyed by its open time; it covers `[ts, ts + timeframe)`."""

    __tablename__ = "candles"

    ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="open time, UTC")
    open: Mapped[int] = mapped_column(BigInteger, comment="price steps")
    high: Mapped[int] = mapped_column(BigInteger, comment="price steps")
    low: Mapped[int] = mapped_column(BigInteger, comment="price steps")
    close: Mapped[int] = mapped_column(BigInteger, comment="price steps")
    volume: Mapped[int] = mapped_column(BigInteger, comment="size steps of the base asset")
    timeframe: Mapped[int] = mapped_column(Integer, comment="length in seconds")
    trade_count: Mapped[int | None] = mapped_column(Integer, comment="NULL: the source does not say")
    instrument_id: Mapped[int] = mapped_column(SmallInteger, comment="instruments.id")

    __table_args__ = (
        PrimaryKeyConstraint("instrument_id", "timeframe", "ts"),
        CheckConstraint("timeframe IN (1, 60, 300, 900, 3600, 14400, 86400)", name="timeframe"),
        CheckConstraint("low <= LEAST(open, close) AND high >= GREATEST(open, close)", name="prices"),
        CheckConstraint("volume >= 0", name="volume"),
        CheckConstraint("trade_count >= 0", name="trade_count"),
        # Refreshing the aggregates reads a short range of all instruments; the primary key does not start with ts.
        Index(None, "ts", postgresql_using="brin"),
        hypertable(CANDLES, segment_by=("instrument_id", "timeframe"), order_by=("ts",)),
        {"comment": "candles by open time, prices and sizes as integer steps"},
    )
