"""Imbalances between bids and asks, over several windows."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import DateTime, Double, PrimaryKeyConstraint, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base, hypertable
from datalayer.models.windows import ORDER_BOOK_IMBALANCES

_BOOK = (
    "mean of (bid_volume - ask_volume) / (bid_volume + ask_volume) over the window before ts; NULL: no books"
)
_VOLUME = "(bought - sold) / (bought + sold) traded size over the window before ts; NULL: no trades"


class OrderBookImbalance(Base):
    """Imbalances in [-1, 1] as known at `ts`; positive is buying pressure."""

    __tablename__ = "order_book_imbalances"

    ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="end of the windows, UTC")
    book_imbalance_1s: Mapped[float | None] = mapped_column(Double, comment=_BOOK)
    book_imbalance_5s: Mapped[float | None] = mapped_column(Double, comment=_BOOK)
    book_imbalance_15s: Mapped[float | None] = mapped_column(Double, comment=_BOOK)
    book_imbalance_60s: Mapped[float | None] = mapped_column(Double, comment=_BOOK)
    volume_imbalance_1s: Mapped[float | None] = mapped_column(Double, comment=_VOLUME)
    volume_imbalance_5s: Mapped[float | None] = mapped_column(Double, comment=_VOLUME)
    volume_imbalance_15s: Mapped[float | None] = mapped_column(Double, comment=_VOLUME)
    volume_imbalance_60s: Mapped[float | None] = mapped_column(Double, comment=_VOLUME)
    instrument_id: Mapped[int] = mapped_column(SmallInteger, comment="instruments.id")

    __table_args__ = (
        PrimaryKeyConstraint("instrument_id", "ts"),
        hypertable(ORDER_BOOK_IMBALANCES, segment_by=("instrument_id",), order_by=("ts",)),
        {"comment": "imbalances of book and trade flow, in [-1, 1]"},
    )
