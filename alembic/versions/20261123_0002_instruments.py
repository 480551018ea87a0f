"""Instruments.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "instruments",
        sa.Column("id", sa.SmallInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False, comment="canonical BASE/QUOTE, as in BTC/USDT"),
        sa.Column(
            "price_scale",
            sa.SmallInteger(),
            nullable=False,
            comment="decimal digits of a price: one price step is 10^-price_scale",
        ),
        sa.Column(
            "size_scale",
            sa.SmallInteger(),
            nullable=False,
            comment="decimal digits of a size: one size step is 10^-size_scale",
        ),
        sa.Column(
            "metadata",
            postgresql.JSONB(),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="what the exchange says about the instrument",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instruments")),
        sa.UniqueConstraint("symbol", name=op.f("uq_instruments_symbol")),
        sa.CheckConstraint("symbol ~ '^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}$'", name=op.f("ck_instruments_symbol")),
        sa.CheckConstraint("price_scale BETWEEN 0 AND 18", name=op.f("ck_instruments_price_scale")),
        sa.CheckConstraint("size_scale BETWEEN 0 AND 18", name=op.f("ck_instruments_size_scale")),
        comment="traded pairs, with the scales of their stored integers",
    )


def downgrade() -> None:
    op.drop_table("instruments")
