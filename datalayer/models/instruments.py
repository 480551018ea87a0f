"""Instruments: the pairs that everything else is recorded for."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, Identity, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from datalayer.models.base import Base


class Instrument(Base):
    """A traded pair and the decimal scales in which its prices and sizes are stored.

    A trigger refuses to delete it, or to change its id or scales, while any hypertable or aggregate has rows of it.
    """

    __tablename__ = "instruments"

    id: Mapped[int] = mapped_column(SmallInteger, Identity(always=True), primary_key=True)
    symbol: Mapped[str] = mapped_column(Text, comment="canonical BASE/QUOTE, as in BTC/USDT")
    price_scale: Mapped[int] = mapped_column(
        SmallInteger, comment="decimal digits of a price: one price step is 10^-price_scale"
    )
    size_scale: Mapped[int] = mapped_column(
        SmallInteger, comment="decimal digits of a size: one size step is 10^-size_scale"
    )
    details: Mapped[dict[str, Any]] = mapped_column(
        "metadata",
        JSONB,
        server_default=text("'{}'::jsonb"),
        comment="what the exchange says about the instrument",
    )
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))

    __table_args__ = (
        UniqueConstraint("symbol"),
        CheckConstraint("symbol ~ '^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$'", name="symbol"),
        CheckConstraint("price_scale BETWEEN 0 AND 18", name="price_scale"),
        CheckConstraint("size_scale BETWEEN 0 AND 18", name="size_scale"),
        {"comment": "traded pairs, with the scales of their stored integers"},
    )
