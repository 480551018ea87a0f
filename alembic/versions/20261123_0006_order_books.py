"""Order books.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STEPS = postgresql.ARRAY(sa.BigInteger())


def upgrade() -> None:
    op.create_table(
        "order_books",
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False, comment="exchange time, UTC"),
        sa.Column("bid_prices", STEPS, nullable=False, comment="price steps, highest first"),
        sa.Column("bid_sizes", STEPS, nullable=False, comment="size steps, one a bid price"),
        sa.Column("ask_prices", STEPS, nullable=False, comment="price steps, lowest first"),
        sa.Column("ask_sizes", STEPS, nullable=False, comment="size steps, one an ask price"),
        sa.Column("best_bid", sa.BigInteger(), nullable=True, comment="price steps; NULL: no bids"),
        sa.Column("best_ask", sa.BigInteger(), nullable=True, comment="price steps; NULL: no asks"),
        sa.Column(
            "bid_volume", sa.BigInteger(), nullable=False, comment="size steps, sum of the stored bid levels"
        ),
        sa.Column(
            "ask_volume", sa.BigInteger(), nullable=False, comment="size steps, sum of the stored ask levels"
        ),
        sa.Column(
            "last_update_id", sa.BigInteger(), nullable=True, comment="the exchange's; NULL: it has none"
        ),
        sa.Column("instrument_id", sa.SmallInteger(), nullable=False, comment="instruments.id"),
        sa.PrimaryKeyConstraint("instrument_id", "ts", name=op.f("pk_order_books")),
        sa.CheckConstraint(
            "cardinality(bid_prices) = cardinality(bid_sizes)", name=op.f("ck_order_books_bid_levels")
        ),
        sa.CheckConstraint(
            "cardinality(ask_prices) = cardinality(ask_sizes)", name=op.f("ck_order_books_ask_levels")
        ),
        sa.CheckConstraint(
            "best_bid IS NOT DISTINCT FROM bid_prices[1]", name=op.f("ck_order_books_best_bid")
        ),
        sa.CheckConstraint(
            "best_ask IS NOT DISTINCT FROM ask_prices[1]", name=op.f("ck_order_books_best_ask")
        ),
        sa.CheckConstraint("best_bid < best_ask", name=op.f("ck_order_books_not_crossed")),
        sa.CheckConstraint("bid_volume >= 0 AND ask_volume >= 0", name=op.f("ck_order_books_volumes")),
        comment="order-book snapshots, prices and sizes as integer steps",
    )
    op.create_hypertable("order_books", "ts", chunk_interval="1 day")
    op.create_index(op.f("ix_order_books_ts"), "order_books", ["ts"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_table("order_books")
