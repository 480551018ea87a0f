"""The last order book of each bucket of time, found by one probe of an index a bucket."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from datalayer.db.copy_transfer import copy_out
from datalayer.db.literals import sql_literal
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.repositories.moments import range_condition
from datalayer.repositories.order_books import BOOK_COLUMNS, SELECT_BOOKS, books_from
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.timeframe import Timeframe
    from datalayer.repositories.instruments import InstrumentRepository


async def read_last_books(
    conn: AsyncConnection,
    instruments: InstrumentRepository,
    symbol: str,
    length: Timeframe,
    *,
    end: datetime,
    limit: int,
) -> OrderBookColumns:
    """Return the last snapshot of each of the last buckets that have one, ascending.

    Args:
        conn: connection inside the caller's transaction.
        instruments: on the same connection.
        symbol: a registered instrument.
        length: of the buckets.
        end: of the last bucket, aware, on the grid.
        limit: number of buckets.

    Raises:
        InvalidInputError: symbol unknown.
        DatabaseError: the server refuses.
    """
    instrument, columns = await copy_out_scaled(
        conn, instruments, symbol, lambda found: _query(found, length, end, limit), BOOK_COLUMNS
    )
    return books_from(
        {name: column.rows(slice(None, None, -1)) for name, column in columns.items()}, instrument
    )


async def read_imbalances_at(
    conn: AsyncConnection, instruments: InstrumentRepository, symbol: str, times: Sequence[datetime]
) -> dict[datetime, dict[str, float]]:
    """Return the imbalances at the times of some order books; those that are not stored are absent.

    Args:
        conn: connection inside the caller's transaction.
        instruments: on the same connection.
        symbol: a registered instrument.
        times: aware, ascending.

    Raises:
        InvalidInputError: symbol unknown.
        DatabaseError: the server refuses.
    """
    if not times:
        return {}
    instrument = await instruments.get(symbol)
    values = ", ".join(f"coalesce({name}, 'NaN')" for name in IMBALANCES)
    listed = ", ".join(sql_literal(time) for time in times)
    query = (
        f"SELECT ts, {values} FROM order_book_imbalances WHERE instrument_id = {sql_literal(instrument.id)}"
        f" AND ts >= {sql_literal(times[0])} AND ts <= {sql_literal(times[-1])} AND ts IN ({listed})"
    )
    columns = await copy_out(conn, query, {"ts": "timestamptz", **dict.fromkeys(IMBALANCES, "float8")})
    rows = zip(*(columns[name].data.tolist() for name in IMBALANCES), strict=True)
    found = [time.replace(tzinfo=UTC) for time in columns["ts"].data.tolist()]
    return {time: dict(zip(IMBALANCES, row, strict=True)) for time, row in zip(found, rows, strict=True)}


def _query(of: Instrument, length: Timeframe, end: datetime, limit: int) -> str:
    bucket = f"time_bucket(interval '{length.value} seconds', book.ts, timestamptz '1970-01-01 00:00:00+00')"
    one = f"{SELECT_BOOKS} WHERE {instrument_condition(of)}"
    first = f"{one} AND {range_condition(None, end)} ORDER BY ts DESC LIMIT 1"
    before = f"{one} AND ts < {bucket} ORDER BY ts DESC LIMIT 1"
    names = "ts, last_update_id, bid_prices, bid_sizes, ask_prices, ask_sizes"
    return (
        f"WITH RECURSIVE book ({names}) AS (({first}) UNION ALL"
        f" SELECT earlier.* FROM book CROSS JOIN LATERAL ({before}) AS earlier ({names}))"
        f" SELECT {names} FROM book LIMIT {sql_literal(limit)}"
    )
