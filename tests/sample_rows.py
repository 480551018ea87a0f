"""A few rows in every table, written by plain SQL: exactly what the schema defines, through no code of ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

START = datetime(2024, 3, 1, tzinfo=UTC)
END = START + timedelta(hours=2)

_ROWS = (
    """
    INSERT INTO candles (ts, open, high, low, close, volume, timeframe, trade_count, instrument_id)
    SELECT ts, 100 + n % 7, 110 + n % 7, 90 + n % 7, 105 + n % 7, n, 1, n % 3, :id
    FROM generate_series(0, 7199) AS n, LATERAL (SELECT CAST(:start AS timestamptz) + n * INTERVAL '1 second' AS ts) AS t
    """,
    """
    INSERT INTO trades (ts, trade_id, price, size, side, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '10 seconds', n, 100 + n, 1 + n, n % 3 - 1, :id
    FROM generate_series(0, 719) AS n
    """,
    """
    INSERT INTO order_books (ts, bid_prices, bid_sizes, ask_prices, ask_sizes, best_bid, best_ask, bid_volume, ask_volume,
                             last_update_id, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '400 milliseconds', ARRAY[100 + n % 5, 90], ARRAY[3, 4 + n % 3],
           ARRAY[107 + n % 3, 120], ARRAY[5, 6], 100 + n % 5, 107 + n % 3, 7 + n % 3, 11, n, :id
    FROM generate_series(0, 999) AS n
    """,
    """
    INSERT INTO order_book_imbalances (ts, book_imbalance_1s, volume_imbalance_60s, instrument_id)
    SELECT CAST(:start AS timestamptz) + n * INTERVAL '1 second', 0.25, -0.5, :id FROM generate_series(0, 99) AS n
    """,
    """
    INSERT INTO rejected_records (kind, source, rule, message, payload)
    SELECT 'trade', 'test', 'size', 'no size in row ' || CAST(:id AS integer), '\\xff00'::bytea WHERE CAST(:start AS timestamptz) IS NOT NULL
    """,
    """
    INSERT INTO dirty_ranges (relation, start_ts, end_ts)
    SELECT 'candles', CAST(:start AS timestamptz), CAST(:start AS timestamptz) + CAST(:id AS integer) * INTERVAL '1 hour'
    """,
    """
    WITH run AS (INSERT INTO migration_runs (folder, on_conflict) VALUES ('cache', 'keep') RETURNING id), file AS (
        INSERT INTO migration_files (run_id, path, sha256, size_bytes, kind, symbol, rows_per_piece, as_of, row_count)
        SELECT id, 'BTCUSDT_trades.parquet', '00', 4, 'trade', 'BTC/USDT', 1000, :start, CAST(:id AS integer) FROM run
        RETURNING id
    ), piece AS (
        INSERT INTO migration_pieces (file_id, number, price_scale, size_scale, inserted_rows)
        SELECT id, 0, 2, 5, '\\xff00'::bytea FROM file
    ), read AS (
        INSERT INTO shadow_reads (symbol, timeframe, compared, different) SELECT 'BTC/USDT', 60, 1, 0 FROM file
    ), gap AS (
        INSERT INTO feed_gaps (symbol, kind, start_ts, end_ts, source, cause, first_id, last_id)
        SELECT 'BTC/USDT', 'trades', now(), now(), 'binance', 'restart', 1, 2 FROM file
    )
    INSERT INTO rollout_phases (phase, note) SELECT 1, 'dual write' FROM run
    """,
    """
    WITH data AS (
        INSERT INTO annotation_data (content_hash, frame) VALUES (decode(repeat('ff', 32), 'hex'), '\\xff00'::bytea)
        RETURNING content_hash
    )
    INSERT INTO annotations (id, revision, symbol, timeframes, start_ts, end_ts, label, author, is_deleted, content_hash)
    SELECT gen_random_uuid(), CAST(:id AS integer), 'BTC/USDT', ARRAY[60], :start, CAST(:start AS timestamptz) + INTERVAL '1 hour',
           'up', 'test', false, content_hash FROM data
    """,
)


async def add_instrument(
    conn: AsyncConnection, symbol: str = "BTC/USDT", price_scale: int = 2, size_scale: int = 5
) -> int:
    """Insert an instrument and return its id."""
    inserted = await conn.scalar(
        text(
            "INSERT INTO instruments (symbol, price_scale, size_scale) VALUES (:symbol, :price, :size) RETURNING id"
        ),
        {"symbol": symbol, "price": price_scale, "size": size_scale},
    )
    assert inserted is not None
    return int(inserted)


async def fill_every_table(conn: AsyncConnection) -> int:
    """Put rows from `START` on into every table; two hours of 1s candles. Returns the instrument's id."""
    instrument_id = await add_instrument(conn)
    for statement in _ROWS:
        await conn.execute(text(statement), {"id": instrument_id, "start": START})
    return instrument_id
