"""SELECTs of order books by buckets of time; in each row everything is a sum, a count or a level, in integers."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.db.literals import sql_literal
from datalayer.domain.imbalances import IMBALANCE_PARTS
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.repositories.moments import last_rows, range_condition
from datalayer.repositories.scale_guard import instrument_condition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.timeframe import Timeframe
    from datalayer.repositories.materialised import Materialised

_QUOTED: Final = "best_bid IS NOT NULL AND best_ask IS NOT NULL"
_MID2: Final = "best_bid + best_ask"
_SPREAD: Final = "best_ask - best_bid"
# As the continuous aggregates are defined: what is computed here and what is materialised there are the same numbers.
_FROM_BOOKS: Final = {
    "book_count": "count(*)",
    "quoted_count": f"count(*) FILTER (WHERE {_QUOTED})",
    "mid2_open": f"first({_MID2}, ts) FILTER (WHERE {_QUOTED})",
    "mid2_high": f"max({_MID2})",
    "mid2_low": f"min({_MID2})",
    "mid2_close": f"last({_MID2}, ts) FILTER (WHERE {_QUOTED})",
    "spread_min": f"min({_SPREAD})",
    "spread_max": f"max({_SPREAD})",
    "spread_sum": f"sum({_SPREAD})::bigint",
    "bid_volume_sum": "sum(bid_volume)::bigint",
    "ask_volume_sum": "sum(ask_volume)::bigint",
    "imbalance_sum": (
        "sum(round(coalesce((bid_volume - ask_volume)::float8 / nullif(bid_volume::float8 + ask_volume, 0), 0)"
        f" * {IMBALANCE_PARTS})::bigint)::bigint"
    ),
}
BUCKET_TYPES: Final[dict[str, PgType]] = {"ts": "timestamptz", **dict.fromkeys(_FROM_BOOKS, "int8")}
"""Columns of the queries of buckets; without a quoted book, mids and spreads are 0."""

BY_PRICE_TYPES: Final[dict[str, PgType]] = {
    "ts": "timestamptz",
    "side": "int2",
    "price": "int8",
    "size_sum": "int8",
    "size_last": "int8",
    "book_count": "int8",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Moments from `start`, included, to `end`, excluded."""

    start: datetime
    end: datetime


def aggregate_query(
    of: Instrument, length: Timeframe, materialised: Materialised, opens: Span, limit: int | None
) -> str:
    """Return the query of what an aggregate has materialised; `is_dirty` tells of books written since then."""
    dirty = (
        "SELECT FROM dirty_ranges AS dirty WHERE dirty.relation = 'order_books'"
        f" AND dirty.start_ts < bucket.ts + interval '{length.value} seconds' AND dirty.end_ts > bucket.ts"
    )
    return (
        f"SELECT {_known('')}, (CASE WHEN EXISTS ({dirty}) THEN 1 ELSE 0 END)::smallint AS is_dirty"
        f" FROM {materialised.table} AS bucket WHERE {instrument_condition(of)} AND {_within(opens)}"
        f" AND ts < {sql_literal(materialised.end)} {last_rows(limit, ('ts',))}"
    )


def generated_query(of: Instrument, length: Timeframe, spans: Sequence[Span], limit: int | None) -> str:
    """Return the query that computes buckets from the books in some spans, apart from each other, at least one."""
    hull = Span(min(span.start for span in spans), max(span.end for span in spans))
    rows = ", ".join(f"({sql_literal(span.start)}, {sql_literal(span.end)})" for span in spans)
    values = ", ".join(f"{expression} AS {name}" for name, expression in _FROM_BOOKS.items())
    return (
        f"SELECT {_known('bucket.')} FROM (VALUES {rows}) AS span (start_ts, end_ts) CROSS JOIN LATERAL ("
        f"SELECT {_bucket(length)} AS ts, {values} FROM order_books"
        f" WHERE {instrument_condition(of)} AND {_within(hull)} AND ts >= span.start_ts AND ts < span.end_ts"
        f" GROUP BY 1) AS bucket {last_rows(limit, ('bucket.ts',))}"
    )


def newest_query(of: Instrument, within: Span) -> str:
    """Return the query of the time of the last book in a span."""
    return f"SELECT ts FROM order_books WHERE {instrument_condition(of)} AND {_within(within)} ORDER BY ts DESC LIMIT 1"


def by_price_query(of: Instrument, length: Timeframe, width: int, opens: Span) -> str:
    """Return the query of sizes by time, side and price, each price bucket named by its lower end.

    Args:
        of: whose.
        length: of the buckets of time.
        width: of the buckets of price, in price steps.
        opens: first bucket, and end of the buckets, both on the grid.
    """
    books = f"FROM order_books WHERE {instrument_condition(of)} AND {_within(opens)}"
    floor = f"price - (price % {sql_literal(width)} + {sql_literal(width)}) % {sql_literal(width)}"
    levels = " UNION ALL ".join(
        f"SELECT {code}::smallint, price, size FROM unnest({side}_prices, {side}_sizes) AS one (price, size)"
        for code, side in enumerate(("bid", "ask"))
    )
    return f"""
        WITH book AS (SELECT {_bucket(length)} AS bucket, ts, bid_prices, bid_sizes, ask_prices, ask_sizes {books}),
        bucket AS (SELECT {_bucket(length)} AS bucket, count(*) AS book_count, max(ts) AS last_ts {books} GROUP BY 1)
        SELECT bucket AS ts, side, {floor} AS price, sum(size)::bigint AS size_sum,
            coalesce(sum(size) FILTER (WHERE ts = last_ts), 0)::bigint AS size_last, min(book_count) AS book_count
        FROM bucket JOIN book USING (bucket) CROSS JOIN LATERAL ({levels}) AS level (side, price, size)
        GROUP BY bucket, side, {floor}
        ORDER BY ts, side, 3
    """


def price_width_steps(width: float | Decimal | str, of: Instrument) -> int:
    """Return the width of a bucket of prices in price steps.

    Raises:
        InvalidInputError: it is not one price step or a multiple of it.
    """
    step = Decimal(1).scaleb(-of.price_scale)
    wrong = InvalidInputError(
        "price_width", width, f"give a multiple of the price step of {of.symbol}, which is {step:f}"
    )
    try:
        steps = int(of.price_steps(np.array([width]), field="price_width")[0])
    except ScaleError as exc:
        raise wrong from exc
    if steps <= 0:
        raise wrong
    return steps


def _known(table: str) -> str:
    return f"{table}ts, " + ", ".join(f"coalesce({table}{name}, 0) AS {name}" for name in _FROM_BOOKS)


def _within(span: Span) -> str:
    return range_condition(span.start, span.end)


def _bucket(length: Timeframe) -> str:
    # The origin is written out: buckets lie on the grid of the epoch in UTC whatever `time_bucket` takes by itself.
    return f"time_bucket(interval '{length.value} seconds', ts, timestamptz '1970-01-01 00:00:00+00')"
