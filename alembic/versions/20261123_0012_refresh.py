"""Refresh policies of the continuous aggregates.

A window reaches back as far as compression allows: whatever lies between an old watermark and its start, after an outage
or a backfill, would vanish from sight. History behind it is recorded in `dirty_ranges` and refreshed from there.

A window is refreshed in one transaction. In TimescaleDB's default, small batches, newest first, the older buckets of the
window vanish from sight until their batch is done, and an aggregate above that is refreshed meanwhile keeps wrong values.
For the same reason the levels start ten seconds apart, from the bottom up, and first when the deploy is over.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Before the compression policies: TimescaleDB 2.23 demands that order on an aggregate.
# aggregate, start offset, end offset, schedule, seconds after its multiples; the window of a source lies within that of its reader
POLICIES = (
    ("candles_1m", "13 days", "1 minute", "1 minute", 0),
    ("candles_5m", "13 days", "5 minutes", "5 minutes", 10),
    ("candles_15m", "13 days", "15 minutes", "5 minutes", 20),
    ("candles_1h", "13 days", "1 hour", "5 minutes", 30),
    ("candles_4h", "13 days", "4 hours", "5 minutes", 40),
    ("candles_1d", "13 days", "1 day", "5 minutes", 50),
    ("order_book_1s", "36 hours", "1 minute", "1 minute", 5),
    ("order_book_1m", "36 hours", "1 minute", "1 minute", 15),
)


def upgrade() -> None:
    for aggregate, start, end, schedule, second in POLICIES:
        op.add_refresh_policy(
            aggregate,
            start_offset=start,
            end_offset=end,
            schedule_interval=schedule,
            phase=f"{second} seconds",
            buckets_per_batch=0,
            newest_first=False,
        )


def downgrade() -> None:
    for aggregate, *_ in POLICIES:
        op.remove_refresh_policy(aggregate)
