"""The continuous aggregates by family, and refreshing a range of them by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import DateTime, Interval, bindparam, text

from datalayer.domain.moments import utc_moment
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

Family = Literal["candles", "order_books"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A continuous aggregate: its name and the length of its buckets."""

    name: str
    bucket: Timeframe


AGGREGATES: Final[Mapping[Family, tuple[Aggregate, ...]]] = {
    "candles": tuple(Aggregate(f"candles_{tf.label}", tf) for tf in Timeframe if tf is not Timeframe.S1),
    "order_books": tuple(Aggregate(f"order_book_{tf.label}", tf) for tf in (Timeframe.S1, Timeframe.M1)),
}
"""The aggregates over each source hypertable, bottom-up: each reads the one before it."""


BUCKETS_PER_BATCH: Final = 10_000
"""Buckets that one transaction of a refresh writes: a week of minutes. TimescaleDB's own choice of 10 costs ten times the time."""

# Oldest first: the watermark moves with what is materialised. Newest first, TimescaleDB's default, the rows between would
# vanish from sight until their batch is done.
_OPTIONS: Final = json.dumps({"buckets_per_batch": BUCKETS_PER_BATCH, "refresh_newest_first": False})

# What is younger than the watermark is computed at query time, what is older is what was materialised. So a refresh that
# moves the watermark begins where it stood, lest rows in between vanish from sight; and it leaves out the bucket that is
# forming now, lest the aggregate stand still until that bucket is over. An aggregate that was never refreshed begins with
# the first chunk: an open start makes TimescaleDB 2.28 walk through all time in batches.
_WINDOW = text("""
    SELECT LEAST(GREATEST(watermark, first_chunk), :start) AS start, LEAST(:end, time_bucket(:bucket, now())) AS end,
           EXISTS (SELECT FROM pg_proc WHERE proname = 'refresh_continuous_aggregate' AND 'options' = ANY(proargnames)) AS batches
    FROM (
        SELECT _timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(mat_hypertable_id)) AS watermark
        FROM _timescaledb_catalog.continuous_agg WHERE user_view_schema = current_schema() AND user_view_name = :name
    ) AS materialised, (
        SELECT min(range_start) AS first_chunk FROM timescaledb_information.chunks
        WHERE hypertable_schema = current_schema() AND hypertable_name = :source
    ) AS source
""").bindparams(
    bindparam("start", type_=DateTime(timezone=True)),
    bindparam("end", type_=DateTime(timezone=True)),
    bindparam("bucket", type_=Interval()),
)


async def refresh_aggregates(engine: AsyncEngine, family: Family, start: datetime, end: datetime) -> None:
    """Materialise all aggregates of a family over a range, each after the one it reads. May be repeated.

    An aggregate sees only what its source has materialised, so the order matters. Each refresh commits by itself: after
    an error the lower aggregates are refreshed, and a repetition finishes the rest.

    Args:
        engine: on a migrated database.
        family: the source hypertable.
        start: first moment of the range, inclusive, with timezone.
        end: end of the range, exclusive, with timezone. Both are moved outward to whole buckets of each aggregate; a
            bucket that is not over yet is left to be computed at query time.

    Raises:
        InvalidInputError: `start` is not before `end`, or one of them is naive.
    """
    start, end = utc_moment(start, "start"), utc_moment(end, "end")
    if start >= end:
        raise InvalidInputError("start", start, f"must be before end={end!r}; the range is half-open")
    # A refresh works in transactions of its own and refuses to run inside of another.
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for aggregate in AGGREGATES[family]:
            await _refresh(conn, family, aggregate, start, end)


async def _refresh(
    conn: AsyncConnection, source: Family, aggregate: Aggregate, start: datetime, end: datetime
) -> None:
    name, bucket = aggregate.name, aggregate.bucket
    wanted = {"name": name, "source": source, "bucket": bucket.length}
    wanted |= {"start": bucket.floor(start), "end": _ceiling(bucket, end)}
    window = (await conn.execute(_WINDOW, wanted)).one()
    if window.start >= window.end:
        return
    options = f", options => '{_OPTIONS}'" if window.batches else ""
    call = f"CALL refresh_continuous_aggregate('{name}', CAST(:start AS timestamptz), CAST(:end AS timestamptz){options})"
    await conn.execute(text(call), {"start": window.start, "end": window.end})


def _ceiling(bucket: Timeframe, moment: datetime) -> datetime:
    floor = bucket.floor(moment)
    return floor if floor == moment else floor + bucket.length
