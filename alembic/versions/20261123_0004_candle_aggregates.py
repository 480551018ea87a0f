"""Candles of 1m to 1d as continuous aggregates over the 1s candles.

Each reads the one below it. They are real-time: what is not yet materialised is computed at query time. A trade count
is unknown as soon as that of one part is: a sum over the others would look like a smaller market.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# name, what it reads, bucket, chunk interval
HIERARCHY = (
    ("candles_5m", "candles_1m", "5 minutes", "84 days"),
    ("candles_15m", "candles_5m", "15 minutes", "84 days"),
    ("candles_1h", "candles_15m", "1 hour", "364 days"),
    ("candles_4h", "candles_1h", "4 hours", "364 days"),
    ("candles_1d", "candles_4h", "1 day", "1820 days"),
)


def create(
    name: str, source: str, bucket: str, chunk_interval: str, *, candle_count: str, where: str = ""
) -> None:
    op.create_continuous_aggregate(
        name,
        f"""
        SELECT instrument_id,
               time_bucket(INTERVAL '{bucket}', ts) AS ts,
               first(open, ts) AS open,
               max(high) AS high,
               min(low) AS low,
               last(close, ts) AS close,
               sum(volume)::bigint AS volume,
               CASE WHEN count(trade_count) = count(*) THEN sum(trade_count)::bigint END AS trade_count,
               {candle_count} AS candle_count
        FROM {source} {where}
        GROUP BY instrument_id, time_bucket(INTERVAL '{bucket}', ts)
        """,
        materialized_only=False,
        chunk_interval=chunk_interval,
        comment=f"candles of {bucket} by open time, rolled up from 1s candles; candle_count says from how many",
    )


def upgrade() -> None:
    create(
        "candles_1m", "candles", "1 minute", "28 days", candle_count="count(*)", where="WHERE timeframe = 1"
    )
    for name, source, bucket, chunk_interval in HIERARCHY:
        create(name, source, bucket, chunk_interval, candle_count="sum(candle_count)::bigint")


def downgrade() -> None:
    for name, *_ in reversed(HIERARCHY):
        op.drop_continuous_aggregate(name)
    op.drop_continuous_aggregate("candles_1m")
