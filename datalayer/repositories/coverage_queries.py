"""SELECTs of coverage: the ends of series by single probes of an index, gaps by one ordered scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import TextClause, text

from datalayer.db.literals import sql_literal
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories.candle_queries import CandleSelection, aggregate_query
from datalayer.repositories.candle_ranges import OpenRange
from datalayer.repositories.moments import range_condition

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.coverage import SeriesKind
    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.candle_queries import RolledUp

EVENT_KINDS: Final[tuple[SeriesKind, ...]] = ("trades", "order_books", "order_book_imbalances")
GAP_COLUMNS: Final[dict[str, PgType]] = {"gap_start": "timestamptz", "gap_end": "timestamptz"}

_EPOCH: Final = "timestamptz '1970-01-01 00:00:00+00'"


def stored_ranges_query(*, count_rows: bool) -> TextClause:
    """Return the query of symbol, kind, timeframe, first and last time and number of rows (NULL unless counted).

    Its parameters: `ids` of instruments, `timeframes` and for each of them in `candle_ends` the end of what is visible,
    and `event_end`, that of the other kinds. A series of which nothing is visible has no row.
    """
    candles = _series(
        "candles",
        "t.timeframe",
        "timeframe = t.timeframe AND ts < t.visible_end",
        count_rows=count_rows,
        times="CROSS JOIN unnest(CAST(:timeframes AS integer[]), CAST(:candle_ends AS timestamptz[]))"
        " AS t (timeframe, visible_end)",
    )
    visible = "ts < CAST(:event_end AS timestamptz)"
    events = [_series(kind, "NULL", visible, count_rows=count_rows) for kind in EVENT_KINDS]
    return text("\nUNION ALL\n".join([candles, *events]))


def _series(relation: str, timeframe: str, where: str, *, count_rows: bool, times: str = "") -> str:
    # A probe reads the one row that it asks for, of a compressed chunk the one batch; min() and max() over everything
    # would read all of it. Without a first row there is no last one to look for.
    rows = f"FROM {relation} WHERE instrument_id = i.id AND {where}"
    counted = f"(SELECT count(*) {rows})" if count_rows else "CAST(NULL AS bigint)"
    return f"""
        SELECT i.symbol, '{relation}' AS kind, {timeframe} AS timeframe, head.ts AS first, tail.ts AS last, {counted} AS rows
        FROM instruments AS i {times}
        CROSS JOIN LATERAL (SELECT ts {rows} ORDER BY ts LIMIT 1) AS head
        CROSS JOIN LATERAL (SELECT ts {rows} ORDER BY ts DESC LIMIT 1) AS tail
        WHERE i.id = ANY(CAST(:ids AS smallint[]))
    """


def stored_gap_query(instrument: Instrument, timeframe: Timeframe, start: datetime, end: datetime) -> str:
    """Return the query of the gaps between stored candles, cut at midnight: columns `GAP_COLUMNS`, ascending.

    The candles of each day are counted first, which is several times quicker than to put them in a row with their
    neighbours; that is done with those of incomplete days only. All comes from one snapshot, so that what is written
    meanwhile tears no hole between two answers.

    Args:
        instrument: whose candles.
        timeframe: of the candles.
        start: first open time, on the grid.
        end: excluded.
    """
    first, last, within = sql_literal(start), sql_literal(end), range_condition(start, end)
    midnight, day = sql_literal(Timeframe.D1.floor(start)), _interval(Timeframe.D1)
    of_day = _stored_opens(instrument, timeframe, timeframe, f"{within} AND ts >= first AND ts < last")
    return f"""
        WITH counted AS (
            SELECT time_bucket({day}, ts, {_EPOCH}) AS day, count(*) AS candles
            FROM ({_stored_opens(instrument, timeframe, timeframe, within)}) AS opens GROUP BY 1
        ), days AS (
            SELECT greatest(day, {first}) AS first, least(day + {day}, {last}) AS last, candles
            FROM generate_series({midnight}, {last}, {day}) AS day LEFT JOIN counted USING (day)
        ), incomplete AS MATERIALIZED (
            SELECT first, last FROM days WHERE first + coalesce(candles, 0) * {_interval(timeframe)} < last
        )
        SELECT gap.* FROM incomplete CROSS JOIN LATERAL ({_gaps(of_day, timeframe, "first", "last")}) AS gap
        ORDER BY gap_start
    """


def gap_query(
    instrument: Instrument,
    timeframe: Timeframe,
    start: datetime,
    end: datetime,
    *,
    rolled_up: RolledUp | None = None,
) -> str:
    """Return the query of the gaps between candles that are stored or can be made from lower ones, ascending.

    Args:
        instrument: whose candles.
        timeframe: of the candles, not 1s.
        start: first open time, on the grid.
        end: excluded.
        rolled_up: what the aggregates hold, which counts too: they have more than the seconds where those have been
            dropped. None: it does not count.
    """
    within = range_condition(start, end)
    parts = [_stored_opens(instrument, timeframe, part, within) for part in Timeframe if part <= timeframe]
    if rolled_up is not None:
        chosen = CandleSelection(timeframe, (OpenRange(start, end),), None, ())
        parts.append(f"SELECT ts FROM ({aggregate_query(instrument, chosen, rolled_up)}) AS aggregated")
    gaps = _gaps(" UNION ".join(parts), timeframe, sql_literal(start), sql_literal(end))
    return f"{gaps} ORDER BY gap_start"


def _gaps(opens: str, timeframe: Timeframe, first: str, last: str) -> str:
    length = _interval(timeframe)
    return f"""
        SELECT before + {length} AS gap_start, ts AS gap_end
        FROM (
            SELECT ts, lag(ts, 1, {first} - {length}) OVER (ORDER BY ts) AS before
            FROM (({opens}) UNION ALL SELECT {last}) AS opens
        ) AS neighbours
        WHERE before + {length} < ts
    """


def _stored_opens(instrument: Instrument, timeframe: Timeframe, stored: Timeframe, where: str) -> str:
    opened = "ts" if stored is timeframe else f"time_bucket({_interval(timeframe)}, ts, {_EPOCH})"
    return f"""
        SELECT {opened} AS ts FROM candles
        WHERE instrument_id = {sql_literal(instrument.id)} AND timeframe = {sql_literal(stored.value)} AND {where}
    """


def _interval(timeframe: Timeframe) -> str:
    # Seconds, since a day of the server's time zone may have 23 hours.
    return f"interval '{sql_literal(timeframe.value)} seconds'"
