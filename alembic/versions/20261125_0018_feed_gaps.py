"""Holes that live feeds know of.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")
CHECKS = {
    "kind": "kind IN ('candles', 'trades', 'order_books')",
    "timeframe": "(kind = 'candles') = (timeframe IS NOT NULL)",
    "range": "start_ts <= end_ts",
    "cause": "cause IN ('restart', 'reconnect', 'sequence')",
    "state": "state IN ('open', 'filled', 'lost')",
    "ids": "(first_id IS NULL) = (last_id IS NULL) AND first_id <= last_id",
}


def upgrade() -> None:
    op.create_table(
        "feed_gaps",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False, comment="canonical"),
        sa.Column("kind", sa.Text(), nullable=False, comment="candles, trades or order_books"),
        sa.Column("timeframe", sa.Integer(), nullable=True, comment="length in seconds; NULL: no candles"),
        sa.Column(
            "start_ts",
            MOMENT,
            nullable=False,
            comment="first missing open time, or time of the last event before, UTC",
        ),
        sa.Column(
            "end_ts",
            MOMENT,
            nullable=False,
            comment="open time after the last missing, or time of the first event after, UTC",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="exchange"),
        sa.Column("cause", sa.Text(), nullable=False, comment="restart, reconnect or sequence"),
        sa.Column("missing", sa.BigInteger(), nullable=True, comment="records missing; NULL: unknown"),
        sa.Column("first_id", sa.BigInteger(), nullable=True, comment="first missing trade id"),
        sa.Column("last_id", sa.BigInteger(), nullable=True, comment="last missing trade id, included"),
        sa.Column(
            "state",
            sa.Text(),
            server_default=sa.text("'open'"),
            nullable=False,
            comment="open, filled or lost (the exchange does not have it)",
        ),
        sa.Column(
            "filled", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="records filled"
        ),
        sa.Column("detected_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.Column("changed_at", MOMENT, server_default=NOW, nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_gaps")),
        *(sa.CheckConstraint(rule, name=op.f(f"ck_feed_gaps_{name}")) for name, rule in CHECKS.items()),
        comment="holes that live feeds know of, and what became of them",
    )
    op.create_index(op.f("ix_feed_gaps_symbol_start_ts"), "feed_gaps", ["symbol", "start_ts"])


def downgrade() -> None:
    op.drop_table("feed_gaps")
