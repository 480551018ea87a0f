"""The last order book and the last imbalances of a symbol, in one round trip."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.repositories.moments import range_condition, visible_range
from datalayer.repositories.order_books import BOOK_COLUMNS, BOOK_VALUES, books_from
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.order_book import OrderBook
    from datalayer.repositories.instruments import InstrumentRepository

_COLUMNS: Final[dict[str, PgType]] = {
    "is_book": "int2",
    **dict.fromkeys(IMBALANCES, "float8"),
    **BOOK_COLUMNS,
}
_NO_IMBALANCES: Final = ", ".join(["float8 'NaN'"] * len(IMBALANCES))
_IMBALANCES: Final = ", ".join(f"coalesce({name}, 'NaN')" for name in IMBALANCES)
_NO_BOOK: Final = f"{UNKNOWN_UPDATE_ID}::bigint, " + ", ".join(["'{}'::bigint[]"] * 4)


async def read_last_events(
    conn: AsyncConnection,
    instruments: InstrumentRepository,
    symbol: str,
    start: datetime,
    as_of: datetime,
) -> tuple[OrderBook | None, OrderBookImbalances | None]:
    """Return the last order book and the last imbalances of `[start, as_of]`, each None if there is none.

    Args:
        conn: connection inside the caller's transaction.
        instruments: on the same connection.
        symbol: a registered instrument, canonical.
        start: first time, aware, included.
        as_of: what was visible at this time, aware: `ts <= as_of`.

    Raises:
        InvalidInputError: symbol unknown, or a time naive.
        DatabaseError: the server refuses.
    """
    within = range_condition(*visible_range(start, None, as_of))
    instrument, columns = await copy_out_scaled(
        conn, instruments, symbol, lambda found: _query(found, within), _COLUMNS
    )
    is_book = columns["is_book"].data == 1
    books = books_from({name: columns[name].rows(is_book) for name in BOOK_COLUMNS}, instrument)
    times = columns["ts"].data[~is_book].tolist()
    values = [columns[name].data[~is_book].tolist() for name in IMBALANCES]
    imbalances = [
        OrderBookImbalances(symbol, ts.replace(tzinfo=UTC), *row)
        for ts, *row in zip(times, *values, strict=True)
    ]
    return books.book(0, symbol) if len(books) else None, imbalances[0] if imbalances else None


def _query(of: Instrument, within: str) -> str:
    last = f"WHERE {instrument_condition(of)} AND {within} ORDER BY ts DESC LIMIT 1"
    book = f"SELECT 1::smallint, {_NO_IMBALANCES}, {BOOK_VALUES} FROM order_books"
    imbalances = f"SELECT 0::smallint, {_IMBALANCES}, ts, {_NO_BOOK} FROM order_book_imbalances"
    return f"({book} {last}) UNION ALL ({imbalances} {last})"
