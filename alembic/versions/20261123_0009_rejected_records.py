"""Quarantine of rejected records.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rejected_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="UTC",
        ),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="candle, trade, order_book, imbalance or message"
        ),
        sa.Column("symbol", sa.Text(), nullable=True, comment="as received; NULL: unreadable"),
        sa.Column(
            "ts", sa.DateTime(timezone=True), nullable=True, comment="time of the record; NULL: unreadable"
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="feed or file it came from"),
        sa.Column("rule", sa.Text(), nullable=False, comment="name of the rule that refused it"),
        sa.Column("field", sa.Text(), nullable=True, comment="offending field; NULL: the record as a whole"),
        sa.Column("value", sa.Text(), nullable=True, comment="offending value as text"),
        sa.Column("message", sa.Text(), nullable=False, comment="what is wrong and what to do"),
        sa.Column("payload", sa.LargeBinary(), nullable=False, comment="the record exactly as received"),
        sa.Column(
            "status",
            sa.Text(),
            server_default=sa.text("'open'"),
            nullable=False,
            comment="open, retried or discarded",
        ),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True, comment="UTC; NULL while open"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_records")),
        sa.CheckConstraint(
            "kind IN ('candle', 'trade', 'order_book', 'imbalance', 'message')",
            name=op.f("ck_rejected_records_kind"),
        ),
        sa.CheckConstraint(
            "status IN ('open', 'retried', 'discarded')", name=op.f("ck_rejected_records_status")
        ),
        sa.CheckConstraint(
            "(status = 'open') = (resolved_at IS NULL)", name=op.f("ck_rejected_records_resolved")
        ),
        comment="quarantine of records that a rule refused",
    )
    op.create_index(
        op.f("ix_rejected_records_status_received_at"), "rejected_records", ["status", "received_at"]
    )


def downgrade() -> None:
    op.drop_table("rejected_records")
