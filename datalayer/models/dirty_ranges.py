"""Late rows: behind what the aggregates have materialised, or about to be."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import BigInteger, Boolean, CheckConstraint, DateTime, Identity, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


class DirtyRange(Base):
    """A range `[start_ts, end_ts)` of a source whose aggregates have to be refreshed."""

    __tablename__ = "dirty_ranges"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    relation: Mapped[str] = mapped_column(Text, comment="source hypertable: candles or order_books")
    start_ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="time of the first row, UTC")
    end_ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="end, exclusive, UTC")
    recorded_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )
    taken_out: Mapped[bool] = mapped_column(
        Boolean,
        server_default=text("false"),
        comment="rows were deleted on purpose: what the aggregates count more is wrong, not dropped by retention",
    )

    __table_args__ = (
        CheckConstraint("relation IN ('candles', 'order_books')", name="relation"),
        CheckConstraint("start_ts < end_ts", name="range"),
        Index(None, "relation", "start_ts"),
        {"comment": "late rows that the aggregates may not show, refreshed bottom-up and then cleared"},
    )
