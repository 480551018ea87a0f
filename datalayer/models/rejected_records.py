"""Quarantine: records that could not be stored, exactly as they came."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Identity, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


class RejectedRecord(Base):
    """A record that a rule refused, kept so that it can be looked at and sent in again."""

    __tablename__ = "rejected_records"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    received_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), comment="UTC"
    )
    kind: Mapped[str] = mapped_column(Text, comment="candle, trade, order_book, imbalance or message")
    symbol: Mapped[str | None] = mapped_column(Text, comment="as received; NULL: unreadable")
    ts: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="time of the record; NULL: unreadable"
    )
    source: Mapped[str] = mapped_column(Text, comment="feed or file it came from")
    rule: Mapped[str] = mapped_column(Text, comment="name of the rule that refused it")
    field: Mapped[str | None] = mapped_column(Text, comment="offending field; NULL: the record as a whole")
    value: Mapped[str | None] = mapped_column(Text, comment="offending value as text")
    message: Mapped[str] = mapped_column(Text, comment="what is wrong and what to do")
    payload: Mapped[bytes] = mapped_column(LargeBinary, comment="the record exactly as received")
    status: Mapped[str] = mapped_column(
        Text, server_default=text("'open'"), comment="open, retried or discarded"
    )
    resolved_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), comment="UTC; NULL while open"
    )

    __table_args__ = (
        CheckConstraint("kind IN ('candle', 'trade', 'order_book', 'imbalance', 'message')", name="kind"),
        CheckConstraint("status IN ('open', 'retried', 'discarded')", name="status"),
        CheckConstraint("(status = 'open') = (resolved_at IS NULL)", name="resolved"),
        Index(None, "status", "received_at"),
        {"comment": "quarantine of records that a rule refused"},
    )
