"""Order-book imbalances.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BOOK = (
    "mean of (bid_volume - ask_volume) / (bid_volume + ask_volume) over the window before ts; NULL: no books"
)
VOLUME = "(bought - sold) / (bought + sold) traded size over the window before ts; NULL: no trades"
WINDOWS = ("1s", "5s", "15s", "60s")


def upgrade() -> None:
    op.create_table(
        "order_book_imbalances",
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False, comment="end of the windows, UTC"),
        *(
            sa.Column(f"book_imbalance_{window}", sa.Double(), nullable=True, comment=BOOK)
            for window in WINDOWS
        ),
        *(
            sa.Column(f"volume_imbalance_{window}", sa.Double(), nullable=True, comment=VOLUME)
            for window in WINDOWS
        ),
        sa.Column("instrument_id", sa.SmallInteger(), nullable=False, comment="instruments.id"),
        sa.PrimaryKeyConstraint("instrument_id", "ts", name=op.f("pk_order_book_imbalances")),
        comment="imbalances of book and trade flow, in [-1, 1]",
    )
    op.create_hypertable("order_book_imbalances", "ts", chunk_interval="7 days")


def downgrade() -> None:
    op.drop_table("order_book_imbalances")
