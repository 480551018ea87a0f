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

# relation, kind, segment by, order by, compress after
COMPRESSED = (
    ("candles", "TABLE", "instrument_id, timeframe", "ts", "14 days"),
    ("trades", "TABLE", "instrument_id", "ts, trade_id", "2 days"),
    ("order_books", "TABLE", "instrument_id", "ts", "2 days"),
    ("order_book_imbalances", "TABLE", "instrument_id", "ts", "7 days"),
    ("candles_1m", "MATERIALIZED VIEW", "instrument_id", "ts", "14 days"),
    ("candles_5m", "MATERIALIZED VIEW", "instrument_id", "ts", "28 days"),
    ("candles_15m", "MATERIALIZED VIEW", "instrument_id", "ts", "28 days"),
    ("candles_1h", "MATERIALIZED VIEW", "instrument_id", "ts", "84 days"),
    ("candles_4h", "MATERIALIZED VIEW", "instrument_id", "ts", "84 days"),
    ("candles_1d", "MATERIALIZED VIEW", "instrument_id", "ts", "364 days"),
    ("order_book_1s", "MATERIALIZED VIEW", "instrument_id", "ts", "7 days"),
    ("order_book_1m", "MATERIALIZED VIEW", "instrument_id", "ts", "28 days"),
)


def upgrade() -> None:
    for relation, kind, segment_by, order_by, compress_after in COMPRESSED:
        op.execute(
            f"ALTER {kind} {relation} SET (timescaledb.compress, "
            f"timescaledb.compress_segmentby = '{segment_by}', timescaledb.compress_orderby = '{order_by}')"
        )
        op.execute(
            f"SELECT public.add_compression_policy('{relation}', compress_after => INTERVAL '{compress_after}', "
            "schedule_interval => INTERVAL '12 hours')"
        )


def downgrade() -> None:
    for relation, *_ in COMPRESSED:
        op.execute(f"SELECT public.remove_compression_policy('{relation}', if_exists => true)")
    # Chunk by chunk, each in its own transaction: a lock on one chunk at a time, and an interrupted run goes on later.
    with op.get_context().autocommit_block():
        for relation, *_ in COMPRESSED:
            op.execute(f"""
                DO $$
                DECLARE
                    chunk regclass;
                BEGIN
                    FOR chunk IN SELECT public.show_chunks('{relation}') LOOP
                        PERFORM public.decompress_chunk(chunk, if_compressed => true);
                        COMMIT;
                    END LOOP;
                END $$
            """)
    for relation, kind, *_ in reversed(COMPRESSED):
        op.execute(f"ALTER {kind} {relation} SET (timescaledb.compress = false)")
