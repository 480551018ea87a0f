"""Candles.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "candles",
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False, comment="open time, UTC"),
        sa.Column("open", sa.BigInteger(), nullable=False, comment="price steps"),
        sa.Column("high", sa.BigInteger(), nullable=False, comment="price steps"),
        sa.Column("low", sa.BigInteger(), nullable=False, comment="price steps"),
        sa.Column("close", sa.BigInteger(), nullable=False, comment="price steps"),
        sa.Column("volume", sa.BigInteger(), nullable=False, comment="size steps of the base asset"),
        sa.Column("timeframe", sa.Integer(), nullable=False, comment="length in seconds"),
        sa.Column("trade_count", sa.Integer(), nullable=True, comment="NULL: the source does not say"),
        sa.Column("instrument_id", sa.SmallInteger(), nullable=False, comment="instruments.id"),
        sa.PrimaryKeyConstraint("instrument_id", "timeframe", "ts", name=op.f("pk_candles")),
        sa.CheckConstraint(
            "timeframe IN (1, 60, 300, 900, 3600, 14400, 86400)", name=op.f("ck_candles_timeframe")
        ),
        sa.CheckConstraint(
            "low <= LEAST(open, close) AND high >= GREATEST(open, close)", name=op.f("ck_candles_prices")
        ),
        sa.CheckConstraint("volume >= 0", name=op.f("ck_candles_volume")),
        sa.CheckConstraint("trade_count >= 0", name=op.f("ck_candles_trade_count")),
        comment="candles by open time, prices and sizes as integer steps",
    )
    op.create_hypertable("candles", "ts", chunk_interval="28 days")
    op.create_index(op.f("ix_candles_ts"), "candles", ["ts"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_table("candles")
