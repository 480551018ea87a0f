"""Views with decoded prices and sizes.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

CANDLE_AGGREGATES = ("1m", "5m", "15m", "1h", "4h", "1d")
BOOK_AGGREGATES = ("1s", "1m")
VIEWS = (
    "candles_decoded",
    *(f"candles_{label}_decoded" for label in CANDLE_AGGREGATES),
    "trades_decoded",
    "order_books_decoded",
    *(f"order_book_{label}_decoded" for label in BOOK_AGGREGATES),
    "rejected_records_decoded",
)
TIMEFRAME = """CASE c.timeframe WHEN 1 THEN '1s' WHEN 60 THEN '1m' WHEN 300 THEN '5m' WHEN 900 THEN '15m'
    WHEN 3600 THEN '1h' WHEN 14400 THEN '4h' WHEN 86400 THEN '1d' END"""


def price(column: str) -> str:
    return f"decode_steps({column}, i.price_scale) AS {column}"


def size(column: str) -> str:
    return f"decode_steps({column}, i.size_scale) AS {column}"


def levels(column: str, scale: str) -> str:
    return f"""ARRAY(
        SELECT decode_steps(level, i.{scale}) FROM unnest({column}) WITH ORDINALITY AS levels (level, rank) ORDER BY rank
    ) AS {column}"""


def candles(view: str, relation: str, timeframe: str, *counts: str) -> None:
    prices = ", ".join(price(column) for column in ("open", "high", "low", "close"))
    op.execute(f"""
        CREATE VIEW {view} AS
        SELECT i.symbol, {timeframe} AS timeframe, c.ts, {prices}, {size("volume")}, {", ".join(counts)}
        FROM {relation} AS c JOIN instruments AS i ON i.id = c.instrument_id
    """)


def books(label: str) -> None:
    op.execute(f"""
        CREATE VIEW order_book_{label}_decoded AS
        SELECT i.symbol, b.ts, book_count, quoted_count,
               decode_steps(mid2_open * 5::numeric, i.price_scale + 1) AS mid_open,
               decode_steps(mid2_high * 5::numeric, i.price_scale + 1) AS mid_high,
               decode_steps(mid2_low * 5::numeric, i.price_scale + 1) AS mid_low,
               decode_steps(mid2_close * 5::numeric, i.price_scale + 1) AS mid_close,
               {price("spread_min")}, {price("spread_max")}, {price("spread_sum")},
               {size("bid_volume_sum")}, {size("ask_volume_sum")},
               imbalance_sum::double precision / book_count / 1099511627776 AS imbalance_avg
        FROM order_book_{label} AS b JOIN instruments AS i ON i.id = b.instrument_id
    """)


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION decode_steps(steps numeric, scale integer) RETURNS numeric
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN round(round(steps, scale) / 10::numeric ^ scale, scale)
    """)
    op.execute(
        "COMMENT ON FUNCTION decode_steps(numeric, integer) IS "
        "'steps / 10^scale, exactly: the inner round makes the division carry all digits'"
    )
    candles("candles_decoded", "candles", TIMEFRAME, "trade_count")
    for label in CANDLE_AGGREGATES:
        candles(f"candles_{label}_decoded", f"candles_{label}", f"'{label}'", "trade_count", "candle_count")
    op.execute(f"""
        CREATE VIEW trades_decoded AS
        SELECT i.symbol, t.ts, t.trade_id, {price("price")}, {size("size")},
               CASE t.side WHEN 1 THEN 'buy' WHEN -1 THEN 'sell' ELSE 'unknown' END AS side
        FROM trades AS t JOIN instruments AS i ON i.id = t.instrument_id
    """)
    op.execute(f"""
        CREATE VIEW order_books_decoded AS
        SELECT i.symbol, b.ts, {levels("bid_prices", "price_scale")}, {levels("bid_sizes", "size_scale")},
               {levels("ask_prices", "price_scale")}, {levels("ask_sizes", "size_scale")},
               {price("best_bid")}, {price("best_ask")}, {size("bid_volume")}, {size("ask_volume")}, b.last_update_id
        FROM order_books AS b JOIN instruments AS i ON i.id = b.instrument_id
    """)
    for label in BOOK_AGGREGATES:
        books(label)
    op.execute("""
        CREATE VIEW rejected_records_decoded AS
        SELECT id, received_at, kind, symbol, ts, source, rule, field, value, message,
               encode(payload, 'escape') AS payload, status, resolved_at
        FROM rejected_records
    """)
    for view in VIEWS:
        op.execute(
            f"COMMENT ON VIEW {view} IS 'for people and reports: {view.removesuffix('_decoded')} with exact decimal values'"
        )


def downgrade() -> None:
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    op.execute("DROP FUNCTION decode_steps(numeric, integer)")
