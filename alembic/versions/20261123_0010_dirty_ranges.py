"""Late rows, behind what the aggregates have materialised.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dirty_ranges",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False, comment="source hypertable: candles or order_books"),
        sa.Column(
            "start_ts", sa.DateTime(timezone=True), nullable=False, comment="time of the first row, UTC"
        ),
        sa.Column("end_ts", sa.DateTime(timezone=True), nullable=False, comment="end, exclusive, UTC"),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="UTC",
        ),
        sa.Column(
            "taken_out",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="rows were deleted on purpose: what the aggregates count more is wrong, not dropped by retention",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dirty_ranges")),
        sa.CheckConstraint("relation IN ('candles', 'order_books')", name=op.f("ck_dirty_ranges_relation")),
        sa.CheckConstraint("start_ts < end_ts", name=op.f("ck_dirty_ranges_range")),
        comment="late rows that the aggregates may not show, refreshed bottom-up and then cleared",
    )
    op.create_index(op.f("ix_dirty_ranges_relation_start_ts"), "dirty_ranges", ["relation", "start_ts"])


def downgrade() -> None:
    op.drop_table("dirty_ranges")
