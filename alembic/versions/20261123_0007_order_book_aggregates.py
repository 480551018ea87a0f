"""Order books of 1s and 1m as continuous aggregates.

Everything is kept as sums and counts of integers, so that a minute rolls up exactly from its seconds, and again to the same
in any order. A book with an empty side has no mid and no spread and is left out of them; it does count in volumes and
imbalance (-1 or 1), and a book with both sides empty counts there as 0.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

QUOTED = "best_bid IS NOT NULL AND best_ask IS NOT NULL"


COMMENT = (
    "order books of {} by open time. mid2 is best_bid + best_ask, twice the mid, in price steps; it and the spread come from "
    "the quoted_count books that have both sides. Averages: spread_sum / quoted_count; volume and imbalance sums / book_count; "
    "imbalances are summed in units of 2^-40"
)


def upgrade() -> None:
    op.create_continuous_aggregate(
        "order_book_1s",
        f"""
        SELECT instrument_id,
               time_bucket(INTERVAL '1 second', ts) AS ts,
               count(*) AS book_count,
               count(*) FILTER (WHERE {QUOTED}) AS quoted_count,
               first(best_bid + best_ask, ts) FILTER (WHERE {QUOTED}) AS mid2_open,
               max(best_bid + best_ask) AS mid2_high,
               min(best_bid + best_ask) AS mid2_low,
               last(best_bid + best_ask, ts) FILTER (WHERE {QUOTED}) AS mid2_close,
               min(best_ask - best_bid) AS spread_min,
               max(best_ask - best_bid) AS spread_max,
               sum(best_ask - best_bid)::bigint AS spread_sum,
               sum(bid_volume)::bigint AS bid_volume_sum,
               sum(ask_volume)::bigint AS ask_volume_sum,
               sum(round(COALESCE(
                   (bid_volume - ask_volume)::double precision
                   / NULLIF(bid_volume::double precision + ask_volume, 0),
                   0
               ) * 1099511627776)::bigint)::bigint AS imbalance_sum
        FROM order_books
        GROUP BY instrument_id, time_bucket(INTERVAL '1 second', ts)
        """,
        materialized_only=False,
        chunk_interval="7 days",
        comment=COMMENT.format("1 second"),
    )
    op.create_continuous_aggregate(
        "order_book_1m",
        """
        SELECT instrument_id,
               time_bucket(INTERVAL '1 minute', ts) AS ts,
               sum(book_count)::bigint AS book_count,
               sum(quoted_count)::bigint AS quoted_count,
               first(mid2_open, ts) FILTER (WHERE quoted_count > 0) AS mid2_open,
               max(mid2_high) AS mid2_high,
               min(mid2_low) AS mid2_low,
               last(mid2_close, ts) FILTER (WHERE quoted_count > 0) AS mid2_close,
               min(spread_min) AS spread_min,
               max(spread_max) AS spread_max,
               sum(spread_sum)::bigint AS spread_sum,
               sum(bid_volume_sum)::bigint AS bid_volume_sum,
               sum(ask_volume_sum)::bigint AS ask_volume_sum,
               sum(imbalance_sum)::bigint AS imbalance_sum
        FROM order_book_1s
        GROUP BY instrument_id, time_bucket(INTERVAL '1 minute', ts)
        """,
        materialized_only=False,
        chunk_interval="28 days",
        comment=COMMENT.format("1 minute"),
    )


def downgrade() -> None:
    op.drop_continuous_aggregate("order_book_1m")
    op.drop_continuous_aggregate("order_book_1s")
