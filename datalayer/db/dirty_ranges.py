"""Rows that aggregates may not show yet: found by the statement that writes them, recorded in the same transaction.

A refresh moves an aggregate's watermark over whatever is not committed yet, and the first run of a policy over all history
before its window. So a row is late not only behind the watermark, but from an age on at which a refresh may have passed it
by the time that its transaction commits. Why, and what was measured: ADR 0012.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.db.aggregates import AGGREGATES, SETTLED_AFTER
from datalayer.db.copy_transfer import driver_connection
from datalayer.db.driver_errors import driver_operation
from datalayer.db.literals import sql_literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.aggregates import Family

LATE_AFTER: Final = SETTLED_AFTER / 2
"""Age from which a row is recorded, by the server's clock. The rest of `SETTLED_AFTER` is left for its COMMIT."""

MERGED_WITHIN: Final = timedelta(hours=1)
"""Ranges that lie no further apart become one: a year of backfill is one row, not one a batch."""

_GAP: Final = f"interval '{sql_literal(round(MERGED_WITHIN.total_seconds()))} seconds'"
_LATE_AFTER: Final = f"interval '{sql_literal(round(LATE_AFTER.total_seconds()))} seconds'"
_INSTANT: Final = "interval '1 microsecond'"

# Another writer or a refresher may be at work on a range. Nobody waits: what is locked stays, and overlaps for a while. What
# is taken over gets a new id, so that a refresher, which began before these rows were there, does not clear it.
RECORD_SQL: Final = f"""
    WITH late AS (
        SELECT start_ts, last_ts + {_INSTANT} AS end_ts FROM unnest($2::timestamptz[], $3::timestamptz[]) AS r (start_ts, last_ts)
    ), near AS MATERIALIZED (
        SELECT d.id, d.start_ts, d.end_ts, d.recorded_at FROM dirty_ranges AS d
        WHERE d.relation = $1 AND d.taken_out = $4
          AND EXISTS (SELECT FROM late WHERE d.start_ts <= late.end_ts + {_GAP} AND d.end_ts >= late.start_ts - {_GAP})
        FOR UPDATE SKIP LOCKED
    ), taken_over AS (
        DELETE FROM dirty_ranges AS d USING near WHERE d.id = near.id
    ), merged AS (
        SELECT unnest(range_agg(tstzrange(start_ts, end_ts + {_GAP}))) AS r
        FROM (SELECT start_ts, end_ts FROM late UNION ALL SELECT start_ts, end_ts FROM near) AS parts
    )
    INSERT INTO dirty_ranges (relation, start_ts, end_ts, recorded_at, taken_out)
    SELECT $1, lower(r), upper(r) - {_GAP}, COALESCE((SELECT min(recorded_at) FROM near WHERE near.start_ts <@ r), now()), $4
    FROM merged
"""
"""Records ranges: parameters are the family, the times of the first row of each range, those of the last, and `taken_out`."""


def late_edge_sql(family: Family) -> str:
    """Return an SQL expression: the moment before which a written row is late for the aggregates of a family."""
    names = ", ".join(f"'{aggregate.name}'" for aggregate in AGGREGATES[family])
    # Nothing materialised yet: the watermark is in the year 4714 BC.
    return f"""greatest(clock_timestamp() - {_LATE_AFTER}, (
        SELECT _timescaledb_functions.to_timestamp(max(w.watermark))
        FROM _timescaledb_catalog.continuous_aggs_watermark AS w
        JOIN _timescaledb_catalog.continuous_agg AS a USING (mat_hypertable_id)
        WHERE a.user_view_schema = current_schema() AND a.user_view_name IN ({names})
    ))"""


async def record_late(
    conn: AsyncConnection, family: Family, times: NDArray[np.datetime64], first: datetime, last: datetime
) -> None:
    """Record where late rows were written, as `record_ranges` does.

    Args:
        conn: connection inside the transaction that wrote the rows.
        family: the hypertable that they were written to.
        times: times of the batch that they came in, in any order; also of those that were stored already.
        first: time of the first late row that was written.
        last: time of the last one.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
    """
    bounds = [np.datetime64(moment.replace(tzinfo=None), "us") for moment in (first, last)]
    late = np.sort(times[(times >= bounds[0]) & (times <= bounds[1])])
    breaks = np.flatnonzero(np.diff(late) > np.timedelta64(MERGED_WITHIN)) + 1
    starts, ends = late[np.r_[0, breaks]], late[np.r_[breaks - 1, -1]]
    await record_ranges(conn, family, _aware(starts), _aware(ends))


async def record_ranges(
    conn: AsyncConnection,
    family: Family,
    firsts: Sequence[datetime],
    lasts: Sequence[datetime],
    *,
    taken_out: bool = False,
) -> None:
    """Record ranges, merged with what is recorded near them; never waits for another transaction.

    Args:
        conn: connection inside the transaction that wrote the rows, or took them out.
        family: the hypertable that they were written to.
        firsts: time of the first row of each range.
        lasts: time of its last row.
        taken_out: rows were deleted on purpose, and the aggregates are to forget them.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
    """
    driver = await driver_connection(conn)
    async with driver_operation(conn):
        await driver.execute(RECORD_SQL, family, firsts, lasts, taken_out)


def _aware(times: NDArray[np.datetime64]) -> list[datetime]:
    return [moment.replace(tzinfo=UTC) for moment in times.astype("datetime64[us]").tolist()]
