"""Materialising a range of a continuous aggregate, in batches and without hiding what was visible."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, Interval, bindparam, text

from datalayer.errors import InvalidInputError
from datalayer.timescale.quoting import literal, qualified, regclass, statement
from datalayer.timescale.server import Feature, Server

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, TextClause

BUCKETS_PER_BATCH: Final = 10_000
"""Buckets that one transaction writes: a week of minutes. TimescaleDB's own choice of 10 costs ten times the time."""

# What is younger than the watermark is computed at query time, what is older is what was materialised. So a refresh that
# moves the watermark begins where it stood, lest rows in between vanish from sight; and it leaves out the bucket that is
# forming now, lest the aggregate stand still until that bucket is over. From the watermark to the next chunk there are no
# rows: it begins with the bucket in which that chunk begins, since TimescaleDB 2.28 walks through empty time, in batches. An
# open start is the first chunk itself: of the bucket before it the beginning may have been dropped, and what is materialised
# of it is all that is left. Where buckets do not start at the usual origin the window begins one bucket earlier: what needs no
# refresh costs nothing.
_WINDOW: Final = """
    SELECT CASE WHEN first_chunk IS NOT NULL
               THEN LEAST(CASE WHEN next_chunk IS NULL THEN 'infinity' ELSE GREATEST(watermark, {next} - margin) END,
                          COALESCE({start} - margin, first_chunk)) END AS start,
           LEAST({end} + width, {now}) AS end,
           watermark_number, first_number, width_number
    FROM (
        SELECT width, margin, width_number, watermark, watermark_number, first_chunk, next_chunk, first_number
        FROM _timescaledb_catalog.continuous_agg AS a
        JOIN _timescaledb_catalog.hypertable AS h ON h.id = a.raw_hypertable_id
        JOIN _timescaledb_catalog.continuous_aggs_bucket_function AS b ON b.mat_hypertable_id = a.mat_hypertable_id
        CROSS JOIN LATERAL (
            SELECT bucket_width::interval AS width,
                   CASE WHEN COALESCE(bucket_timezone, bucket_origin, bucket_offset) IS NULL
                       THEN INTERVAL '0' ELSE bucket_width::interval END AS margin,
                   CASE WHEN bucket_width ~ '^[0-9]+$' THEN bucket_width::bigint END AS width_number
        ) AS bucket
        CROSS JOIN LATERAL (
            SELECT _timescaledb_functions.cagg_watermark(a.mat_hypertable_id) AS watermark_number,
                   _timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(a.mat_hypertable_id)) AS watermark
        ) AS reached
        CROSS JOIN LATERAL (
            SELECT min(range_start) AS first_chunk, min(range_start) FILTER (WHERE range_end > watermark) AS next_chunk,
                   min(range_start_integer) AS first_number
            FROM timescaledb_information.chunks
            WHERE (hypertable_schema, hypertable_name) = (h.schema_name, h.table_name)
        ) AS source
        WHERE format('%I.%I', a.user_view_schema, a.user_view_name)::regclass = to_regclass(CAST(:aggregate AS text))
    ) AS aggregate
"""


def refresh_continuous_aggregate(
    connection: Connection,
    name: str,
    *,
    schema: str | None = None,
    start: datetime | int | None = None,
    end: datetime | int | None = None,
    buckets_per_batch: int = BUCKETS_PER_BATCH,
    settled_after: timedelta = timedelta(0),
    force: bool = False,
) -> None:
    """Materialise an aggregate over a range; what did not change since is not computed again. May be repeated.

    An aggregate sees only what its source has materialised: refresh the source first. Each batch commits by itself, so
    that an interrupted run goes on where it stood.

    Args:
        connection: at the isolation level AUTOCOMMIT; a refresh refuses to run in a transaction.
        name: of an aggregate over a timestamptz or integer column.
        schema: None: the first of the search path that has it.
        start: first moment, inclusive, with timezone, or a number of an integer column; None: where the data begins. Moved
            back to the start of a bucket, and to what is materialised so far: rows between the two would vanish from sight.
        end: end of the range, exclusive, as `start`; None: now, of an integer column the end of the data. Moved on to the
            end of a bucket; a bucket that is not over yet is left to be computed at query time.
        buckets_per_batch: buckets that one transaction writes, on servers that know batches; 0: all in one.
        settled_after: age until which rows may still come in: a bucket that ends within it is treated as one that is not over
            yet. Not for an integer column.
        force: compute everything anew, not only what TimescaleDB knows to have changed. It forgets about some of that when a
            refresh is interrupted (timescaledb #8591).

    Raises:
        InvalidInputError: there is no such aggregate.
        UnsupportedServerError: `force` needs TimescaleDB 2.18 or newer.
    """
    server = Server.of(connection)
    server.require(Feature.CONTINUOUS_AGGREGATES)
    if force:
        server.require(Feature.FORCED_REFRESH)
    moments = {"start": start, "end": end}
    bound = {field: None if isinstance(moment, int) else moment for field, moment in moments.items()}
    window = connection.execute(
        _window(server), {"aggregate": qualified(name, schema), "settled_after": settled_after, **bound}
    ).one_or_none()
    if window is None:
        raise InvalidInputError("name", name, "name a continuous aggregate on the search path")
    bounds = _numbers(window, **moments) if window.first_number is not None else (window.start, window.end)
    if bounds[0] is None or (bounds[1] is not None and bounds[0] >= bounds[1]):
        return
    # Oldest first: the watermark moves with what is materialised. Newest first, TimescaleDB's default, the rows between
    # would vanish from sight until their batch is done.
    options = literal(json.dumps({"buckets_per_batch": buckets_per_batch, "refresh_newest_first": False}))
    how = f", options => {options}" if server.has(Feature.REFRESH_BATCHES) else ""
    how += ", force => true" if force else ""
    function = server.function("refresh_continuous_aggregate")
    call = f"CALL {function}({regclass(name, schema)}, {', '.join(map(moment_sql, bounds))}{how})"
    connection.execute(statement(call))


def moment_sql(moment: datetime | int | None) -> str:
    """Return a bound of a refresh for SQL; None: it is open."""
    if moment is None:
        return "NULL"
    # Without a type TimescaleDB reads it as what the column is; one without timezone is taken as UTC.
    return str(moment) if isinstance(moment, int) else literal(moment.astimezone(UTC).isoformat())


def _numbers(window: Any, start: Any, end: Any) -> tuple[int, int | None]:
    is_new = window.watermark_number < window.first_number
    reached = max(window.watermark_number, window.first_number - (window.width_number if is_new else 0))
    return (min(reached, window.first_number if start is None else start), end)


def _window(server: Server) -> TextClause:
    bucket = server.function("time_bucket") + "(width, {})"
    moments = {
        "start": ":start",
        "end": ":end - INTERVAL '1 microsecond'",
        "now": "now() - :settled_after",
        "next": "next_chunk",
    }
    query = text(_WINDOW.format(**{name: bucket.format(moment) for name, moment in moments.items()}))
    moments_bound = (bindparam(name, type_=DateTime(timezone=True)) for name in ("start", "end"))
    return query.bindparams(*moments_bound, bindparam("settled_after", type_=Interval()))
