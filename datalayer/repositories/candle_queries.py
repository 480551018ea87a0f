"""SELECTs of candles, one for each source; all give `COLUMN_TYPES` in that order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.db.literals import sql_literal
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories.moments import RESOLUTION, last_rows, range_condition
from datalayer.repositories.scale_guard import instrument_condition

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument

UNKNOWN_COUNT: Final = -1
COLUMN_TYPES: Final[dict[str, PgType]] = {
    "ts": "timestamptz",
    **dict.fromkeys(("open", "high", "low", "close", "volume", "trade_count"), "int8"),
}

_SELECT_LIST: Final = f"ts, open, high, low, close, volume, coalesce(trade_count, {UNKNOWN_COUNT})::bigint"


def candle_query(
    of: Instrument,
    timeframe: Timeframe,
    source: str,
    opens: tuple[datetime | None, datetime],
    limit: int | None,
) -> str:
    """Return the query of candles that open in the half-open range `opens`, descending if there is a limit.

    Raises:
        InvalidInputError: there is no such source for the timeframe, or the limit is negative.
    """
    within, order = range_condition(*opens), last_rows(limit, ("ts",))
    instrument = instrument_condition(of)
    if source == "stored":
        of_length = f"timeframe = {sql_literal(timeframe.value)}"
        return f"SELECT {_SELECT_LIST} FROM candles WHERE {instrument} AND {of_length} AND {within} {order}"
    if timeframe is Timeframe.S1 and source in {"aggregate", "generated"}:
        raise InvalidInputError(
            "source", source, "1s is the lowest timeframe, nothing rolls up to it; use 'stored'"
        )
    if source == "aggregate":
        return f"SELECT {_SELECT_LIST} FROM candles_{timeframe.label} WHERE {instrument} AND {within} {order}"
    if source == "generated":
        return f"SELECT {_SELECT_LIST} FROM ({_rolled_up(instrument, timeframe, *opens)}) AS candles {order}"
    raise InvalidInputError("source", source, "use one of stored, aggregate, generated")


def _rolled_up(instrument: str, timeframe: Timeframe, start: datetime | None, end: datetime) -> str:
    """Return the roll-up to whole candles that open in `[start, end)`.

    `end` is bounded by what is closed, so every lower candle inside is visible too. The origin is written out, since
    a candle opens on the grid of the epoch in UTC whatever `time_bucket` takes for its default.
    """
    first = None if start is None else _ceil(start, timeframe)
    within = range_condition(first, _ceil(end, timeframe))
    bucket = f"time_bucket(interval '{sql_literal(timeframe.value)} seconds', ts, timestamptz '1970-01-01 00:00:00+00')"
    return f"""
        SELECT DISTINCT ON (bucket)
            bucket AS ts, open, high, low, close, volume, trade_count
        FROM (
            SELECT {bucket} AS bucket, timeframe,
                first(open, ts) AS open, max(high) AS high, min(low) AS low, last(close, ts) AS close,
                sum(volume)::bigint AS volume,
                CASE WHEN count(trade_count) = count(*) THEN sum(trade_count) END AS trade_count,
                max(ts) - min(ts) + timeframe * interval '1 second' AS covered
            FROM candles
            WHERE {instrument} AND timeframe < {sql_literal(timeframe.value)} AND {within}
            GROUP BY bucket, timeframe
        ) AS by_timeframe
        ORDER BY bucket, covered DESC, timeframe
    """


def _ceil(moment: datetime, timeframe: Timeframe) -> datetime:
    return timeframe.floor(moment - RESOLUTION) + timeframe.length
