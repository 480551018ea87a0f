"""Trades.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trades",
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False, comment="exchange time, UTC"),
        sa.Column("trade_id", sa.BigInteger(), nullable=False, comment="the exchange's id, rising with time"),
        sa.Column("price", sa.BigInteger(), nullable=False, comment="price steps"),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="size steps of the base asset"),
        sa.Column("side", sa.SmallInteger(), nullable=False, comment="aggressor: 1 buy, -1 sell, 0 unknown"),
        sa.Column("instrument_id", sa.SmallInteger(), nullable=False, comment="instruments.id"),
        sa.PrimaryKeyConstraint("instrument_id", "ts", "trade_id", name=op.f("pk_trades")),
        sa.CheckConstraint("size > 0", name=op.f("ck_trades_size")),
        sa.CheckConstraint("side IN (-1, 0, 1)", name=op.f("ck_trades_side")),
        comment="single trades, prices and sizes as integer steps",
    )
    op.create_hypertable("trades", "ts", chunk_interval="1 day")


def downgrade() -> None:
    op.drop_table("trades")
