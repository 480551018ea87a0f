"""The continuous aggregates by family, and refreshing a range of them by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from datalayer.domain.moments import utc_moment
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.timescale import refresh_continuous_aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

Family = Literal["candles", "order_books"]

SETTLED_AFTER: Final = timedelta(minutes=1)
"""No refresh materialises what is younger, neither a policy nor one by hand: rows of the live feeds are still to come."""


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


async def refresh_aggregates(engine: AsyncEngine, family: Family, start: datetime, end: datetime) -> None:
    """Materialise all aggregates of a family over a range, each after the one it reads. May be repeated.

    What is recorded as dirty stays recorded: `AggregateRefresher` refreshes and clears it.

    An aggregate sees only what its source has materialised, so the order matters. Each refresh commits by itself: after
    an error the lower aggregates are refreshed, and a repetition finishes the rest.

    Args:
        engine: on a migrated database.
        family: the source hypertable.
        start: first moment of the range, inclusive, with timezone.
        end: end of the range, exclusive, with timezone. Both are moved outward to whole buckets of each aggregate; a
            bucket that is not over yet, or not for a minute, is left to be computed at query time.

    Raises:
        InvalidInputError: `start` is not before `end`, or one of them is naive.
    """
    start, end = check_range(start, end)
    # A refresh works in transactions of its own and refuses to run inside of another.
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for aggregate in AGGREGATES[family]:
            await refresh_level(conn, aggregate, start, end)


async def refresh_level(
    conn: AsyncConnection, aggregate: Aggregate, start: datetime, end: datetime, *, force: bool = False
) -> None:
    """Materialise a range of one aggregate; those that it reads come first.

    Args:
        conn: in autocommit mode.
        aggregate: which one.
        start: first moment of the range, inclusive, aware.
        end: end of the range, exclusive, aware; both are moved outward to whole buckets.
        force: compute everything anew, not only what TimescaleDB knows to have changed.
    """
    await conn.run_sync(
        refresh_continuous_aggregate,
        aggregate.name,
        start=start,
        end=end,
        settled_after=SETTLED_AFTER,
        force=force,
    )


def check_range(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return both ends in UTC.

    Raises:
        InvalidInputError: `start` is not before `end`, or one of them is naive.
    """
    start, end = utc_moment(start, "start"), utc_moment(end, "end")
    if start >= end:
        raise InvalidInputError("start", start, f"must be before end={end!r}; the range is half-open")
    return start, end
