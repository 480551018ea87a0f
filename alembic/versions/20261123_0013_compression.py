"""Compression.

Segments follow the keys that reads and upserts name; chunks are compressed once no refresh window reaches them.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# relation, segment by, order by, compress after
COMPRESSED = (
    ("candles", ["instrument_id", "timeframe"], ["ts"], "14 days"),
    ("trades", ["instrument_id"], ["ts", "trade_id"], "2 days"),
    ("order_books", ["instrument_id"], ["ts"], "2 days"),
    ("order_book_imbalances", ["instrument_id"], ["ts"], "7 days"),
    ("candles_1m", ["instrument_id"], ["ts"], "14 days"),
    ("candles_5m", ["instrument_id"], ["ts"], "28 days"),
    ("candles_15m", ["instrument_id"], ["ts"], "28 days"),
    ("candles_1h", ["instrument_id"], ["ts"], "84 days"),
    ("candles_4h", ["instrument_id"], ["ts"], "84 days"),
    ("candles_1d", ["instrument_id"], ["ts"], "364 days"),
    ("order_book_1s", ["instrument_id"], ["ts"], "7 days"),
    ("order_book_1m", ["instrument_id"], ["ts"], "28 days"),
)


def upgrade() -> None:
    for relation, segment_by, order_by, compress_after in COMPRESSED:
        op.enable_compression(relation, segment_by=segment_by, order_by=order_by)
        op.add_compression_policy(relation, compress_after=compress_after, schedule_interval="12 hours")


def downgrade() -> None:
    for relation, *_ in COMPRESSED:
        op.remove_compression_policy(relation)
    for relation, *_ in reversed(COMPRESSED):
        op.disable_compression(relation)
