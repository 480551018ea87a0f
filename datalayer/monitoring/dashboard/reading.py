"""What the page shows, read from the database in one read-only transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.provider.reads import Reads
from datalayer.repositories import CandleRepository, CoverageRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.coverage import CoverageReport
    from datalayer.domain.timeframe import Timeframe
    from datalayer.monitoring.state import SeriesState

CANDLES: Final = 100
MOST_CANDLES: Final = 200_000
"""A row of the coverage map that would read more is left out."""

# Minutes in which nothing came are there, as zeros.
_RATES: Final = text("""
    WITH counted AS (
        SELECT kind, time_bucket('1 minute', ts) AS minute, count(*) AS n FROM (
            SELECT 'trades' AS kind, ts FROM trades WHERE instrument_id = :id AND ts >= :start AND ts < :end
            UNION ALL SELECT 'order books', ts FROM order_books WHERE instrument_id = :id AND ts >= :start AND ts < :end
            UNION ALL SELECT 'candles 1s', ts FROM candles
                WHERE instrument_id = :id AND timeframe = 1 AND ts >= :start AND ts < :end
        ) AS rows GROUP BY 1, 2
    )
    SELECT kind, minute, COALESCE(n, 0) / 60.0 AS rate
    FROM (SELECT DISTINCT kind FROM counted) AS kinds
    CROSS JOIN generate_series(CAST(:start AS timestamptz), CAST(:end AS timestamptz) - interval '1 minute', interval '1 minute') AS minute
    LEFT JOIN counted USING (kind, minute)
    ORDER BY 1, 2
""")
_ID: Final = text("SELECT id FROM instruments WHERE symbol = :symbol")


@dataclass(frozen=True, slots=True)
class SymbolView:
    """What is shown of a symbol.

    Attributes:
        candles: the last ones of a timeframe; may be empty.
        reports: coverage of the stored timeframes, ascending; those with too many candles are left out.
        left_out: those.
        start: of the coverage map, UTC.
        end: its end, where the newest data end.
        rates: rows a second by kind, a minute apart, of the hour before the newest data.
    """

    candles: pd.DataFrame
    reports: tuple[CoverageReport, ...]
    left_out: tuple[Timeframe, ...]
    start: datetime
    end: datetime
    rates: dict[str, list[tuple[datetime, float]]]


async def read_symbol(
    database: DatabaseConnectionManager,
    symbol: str,
    series: Sequence[SeriesState],
    timeframe: Timeframe,
    span: timedelta,
) -> SymbolView:
    """Return what is shown of a symbol, as it is now.

    Args:
        database: an open one.
        symbol: canonical, registered.
        series: what is stored of it; not empty.
        timeframe: of the candles.
        span: length of the coverage map.
    """
    end = min(max(one.known_at for one in series), datetime.now(UTC))
    start = end - span
    async with Reads(database).begin() as conn:
        candles = await CandleRepository(conn).query_ohlcv_data(symbol, timeframe, limit=CANDLES)
        coverage, reports, left_out = CoverageRepository(conn), [], []
        for one in series:
            if one.timeframe is None:
                continue
            if span / one.timeframe.length > MOST_CANDLES:
                left_out.append(one.timeframe)
                continue
            stop = min(one.known_at, end)
            begin = min(max(start, one.stored.first), stop)  # before its first there was nothing to miss
            reports.append(await coverage.query_coverage(symbol, one.timeframe, begin, stop))
        minute = end.replace(second=0, microsecond=0)  # the one that is not over would look like a fall
        number = (await conn.execute(_ID, {"symbol": symbol})).scalar_one()
        rates: dict[str, list[tuple[datetime, float]]] = {}
        for row in await conn.execute(
            _RATES, {"id": number, "start": minute - timedelta(hours=1), "end": minute}
        ):
            rates.setdefault(row.kind, []).append((row.minute, float(row.rate)))
    return SymbolView(candles, tuple(reports), tuple(left_out), start, end, rates)
