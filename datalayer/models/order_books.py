"""Order-book snapshots."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, PrimaryKeyConstraint, SmallInteger
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base, hypertable
from datalayer.models.windows import ORDER_BOOKS


class OrderBook(Base):
    """The best levels of a book at one moment, best first on each side; an empty side is an empty array."""

    __tablename__ = "order_books"

    ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="exchange time, UTC")
    bid_prices: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), comment="price steps, highest first")
    bid_sizes: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), comment="size steps, one a bid price")
    ask_prices: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), comment="price steps, lowest first")
    ask_sizes: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), comment="size steps, one an ask price")
    best_bid: Mapped[int | None] = mapped_column(BigInteger, comment="price steps; NULL: no bids")
    best_ask: Mapped[int | None] = mapped_column(BigInteger, comment="price steps; NULL: no asks")
    bid_volume: Mapped[int] = mapped_column(BigInteger, comment="size steps, sum of the stored bid levels")
    ask_volume: Mapped[int] = mapped_column(BigInteger, comment="size steps, sum of the stored ask levels")
    last_update_id: Mapped[int | None] = mapped_column(
        BigInteger, comment="the exchange's; NULL: it has none"
    )
    instrument_id: Mapped[int] = mapped_column(SmallInteger, comment="instruments.id")

    __table_args__ = (
        PrimaryKeyConstraint("instrument_id", "ts"),
        CheckConstraint("cardinality(bid_prices) = cardinality(bid_sizes)", name="bid_levels"),
        CheckConstraint("cardinality(ask_prices) = cardinality(ask_sizes)", name="ask_levels"),
        CheckConstraint("best_bid IS NOT DISTINCT FROM bid_prices[1]", name="best_bid"),
        CheckConstraint("best_ask IS NOT DISTINCT FROM ask_prices[1]", name="best_ask"),
        CheckConstraint("best_bid < best_ask", name="not_crossed"),
        CheckConstraint("bid_volume >= 0 AND ask_volume >= 0", name="volumes"),
        Index(None, "ts", postgresql_using="brin"),
        hypertable(ORDER_BOOKS, segment_by=("instrument_id",), order_by=("ts",)),
        {"comment": "order-book snapshots, prices and sizes as integer steps"},
    )
