"""Single trades."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import BigInteger, CheckConstraint, DateTime, PrimaryKeyConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base, hypertable
from datalayer.models.windows import TRADES


class Trade(Base):
    """One trade; distinct trades may share instrument, time, price and size, but not the exchange's trade id."""

    __tablename__ = "trades"

    ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="exchange time, UTC")
    trade_id: Mapped[int] = mapped_column(BigInteger, comment="the exchange's id, rising with time")
    price: Mapped[int] = mapped_column(BigInteger, comment="price steps")
    size: Mapped[int] = mapped_column(BigInteger, comment="size steps of the base asset")
    side: Mapped[int] = mapped_column(SmallInteger, comment="aggressor: 1 buy, -1 sell, 0 unknown")
    instrument_id: Mapped[int] = mapped_column(SmallInteger, comment="instruments.id")

    __table_args__ = (
        PrimaryKeyConstraint("instrument_id", "ts", "trade_id"),
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("side IN (-1, 0, 1)", name="side"),
        hypertable(TRADES, segment_by=("instrument_id",), order_by=("ts", "trade_id")),
        {"comment": "single trades, prices and sizes as integer steps"},
    )
