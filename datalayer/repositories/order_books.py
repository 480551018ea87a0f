"""Order-book snapshots, written and read by columns."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.db.copy_columns import Column
from datalayer.db.staged_write import OnConflict, WriteTarget
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBookColumns
from datalayer.domain.steps import from_steps, to_steps
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import InvalidInputError
from datalayer.repositories.batches import write_batch
from datalayer.repositories.frames import check_rows
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.moments import last_rows, stretches, visible_range
from datalayer.repositories.order_book_buckets import bucket_selection, read_buckets
from datalayer.repositories.order_book_frames import bucket_frame, by_price_frame
from datalayer.repositories.order_book_queries import BY_PRICE_TYPES, by_price_query, price_width_steps
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition
from datalayer.timings import timed

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.steps import PriceType

BOOK_COLUMNS: Final[dict[str, PgType]] = {
    "ts": "timestamptz",
    "last_update_id": "int8",
    "bid_prices": "int8[]",
    "bid_sizes": "int8[]",
    "ask_prices": "int8[]",
    "ask_sizes": "int8[]",
}
BOOK_VALUES: Final = (
    f"ts, coalesce(last_update_id, {UNKNOWN_UPDATE_ID}), bid_prices, bid_sizes, ask_prices, ask_sizes"
)
SELECT_BOOKS: Final = f"SELECT {BOOK_VALUES} FROM order_books"
_AGGREGATED: Final = (Timeframe.S1, Timeframe.M1)
_INT8_END: Final = 2.0**63
TARGET: Final = WriteTarget(
    table="order_books", time="ts", key=("instrument_id", "ts"), equal_key="ignore", rolled_up="order_books"
)


class OrderBookRepository:
    """Writes and reads order-book snapshots inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._instruments = InstrumentRepository(conn)

    async def insert_order_books(
        self, symbol: str, books: OrderBookColumns, *, on_conflict: OnConflict = "ignore"
    ) -> WriteCounts:
        """Write snapshots; one whose time is stored already is ignored. Repeating the write changes nothing.

        Args:
            symbol: a registered instrument, in any known spelling.
            books: snapshots in any order.
            on_conflict: what happens to a snapshot whose time is stored; see `OnConflict`.

        Returns:
            Exact counts; ignored snapshots, and those that repeat another entirely, count as unchanged.

        Raises:
            ScaleError: a value has more decimals than its instrument's scale.
            InvalidInputError: symbol unknown, two snapshots of one time differ, or the sizes of a side do not add up in
                64 bits. Nothing is written.
            ConflictError: a stored snapshot says something else, and `on_conflict` is "error"; names the key.
            DatabaseError: the server refuses; the transaction is aborted.
        """
        instrument = await self._instruments.get_for_write(symbol)
        if not len(books):
            return WriteCounts()
        columns = book_columns(books, instrument)
        target = TARGET.resolving(on_conflict)
        return await write_batch(self._conn, target, columns, {"instrument_id": ("int2", instrument.id)})

    @timed("query", "orderbook_snapshots")
    async def query_orderbook_snapshots(
        self,
        symbol: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int | None = None,
        as_of: datetime | None = None,
    ) -> OrderBookColumns:
        """Return the snapshots with times in `[start, end)`, ascending.

        Args:
            symbol: a registered instrument, in any known spelling.
            start: first time, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was visible at this time, aware: `ts <= as_of`. None: now.

        Returns:
            Snapshots as wide as the deepest of them; no rows and no levels if there is nothing.

        Raises:
            InvalidInputError: symbol unknown, a time naive, or `end` before `start`.
            DatabaseError: the server refuses.
        """
        order = last_rows(limit, ("ts",))
        for within in stretches(*visible_range(start, end, as_of), limit):
            instrument, columns = await copy_out_scaled(
                self._conn,
                self._instruments,
                symbol,
                lambda found: f"{SELECT_BOOKS} WHERE {instrument_condition(found)} AND {within} {order}",  # noqa: B023 (called at once)
                BOOK_COLUMNS,
            )
            if len(columns["ts"].data) == limit:
                break
        if limit is not None:
            columns = {name: column.rows(slice(None, None, -1)) for name, column in columns.items()}
        return books_from(columns, instrument)

    @timed("query", "orderbook_aggregated")
    async def query_orderbook_aggregated(
        self,
        symbol: str,
        aggregation: Timeframe | str = "1s",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int | None = None,
        as_of: datetime | None = None,
        include_forming: bool = False,
        price_type: PriceType = "float",
    ) -> pd.DataFrame:
        """Return the books of whole seconds or minutes that start in `[start, end)`, summed up.

        They come from the continuous aggregates. What those have not materialised, or what cannot be trusted (a dirty range
        overlaps), is summed up now from the stored books; what retention has dropped is kept as it was aggregated.

        Args:
            symbol: a registered instrument, in any known spelling.
            aggregation: "1s" or "1m".
            start: first start of a bucket, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was over at this time, aware: `start of the bucket + its length <= as_of`. None: now.
            include_forming: add the bucket that is not over at `as_of`, from its books with `ts <= as_of`, and a column
                is_forming (bool). It counts for `limit`.
            price_type: prices and volumes as float64, or as `Decimal` objects (means rounded to 34 digits); "fixed" gives
                steps: int64, mids and means float64.

        Returns:
            A frame indexed by the start of the bucket `timestamp` (datetime64[us, UTC], ascending, unique) with columns
            mid_open, mid_high, mid_low, mid_close, spread_min, spread_max and spread_mean (of the quoted_count books with
            both sides; NaN, None or NA without any), bid_volume_mean, ask_volume_mean and imbalance_mean (float64; see
            `datalayer.domain.imbalances`) of all book_count books, book_count and quoted_count (int64), and source
            (category: aggregate, generated, forming). Each price and volume is the float nearest to the exact value. A bucket
            without books is absent. Empty with the same columns and dtypes if there is nothing. `attrs` has symbol and
            timeframe.

        Raises:
            InvalidInputError: symbol unknown, another aggregation or price type, a time naive, `end` before `start`, or
                `limit` negative.
            DatabaseError: the server refuses.
        """
        length = Timeframe.parse(aggregation)
        if length not in _AGGREGATED:
            raise InvalidInputError("aggregation", aggregation, "use 1s or 1m")
        chosen = bucket_selection(length, start, end, as_of, limit=limit, include_forming=include_forming)
        instrument, rows = await read_buckets(self._conn, self._instruments, symbol, chosen)
        frame = bucket_frame(rows, instrument, price_type, has_forming=include_forming)
        frame.attrs = {"symbol": instrument.symbol, "timeframe": length.label}
        return frame

    @timed("query", "orderbook_by_price")
    async def query_orderbook_by_price(
        self,
        symbol: str,
        aggregation: Timeframe | str,
        price_width: float | Decimal | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
        price_type: PriceType = "float",
    ) -> pd.DataFrame:
        """Return resting sizes by time and price, as for a heat map: `OrderBookHeatMap.from_frame` makes arrays of them.

        Args:
            symbol: a registered instrument, in any known spelling.
            aggregation: length of the buckets of time, any timeframe.
            price_width: width of the buckets of price in the quote asset, a multiple of the instrument's price step. The
                bucket of a price covers `[n * price_width, (n + 1) * price_width)`.
            start: first start of a bucket of time, aware, included.
            end: aware, excluded; None: to the last visible one.
            as_of: what was over at this time, aware: `start of the bucket + its length <= as_of`. None: now.
            price_type: prices and sizes as float64, or as `Decimal` objects (means rounded to 34 digits); "fixed" gives
                steps: int64, size_mean float64.

        Returns:
            A frame indexed by the start of the bucket of time `timestamp` (datetime64[us, UTC], ascending; may repeat) with
            columns side (category: bid, ask), price (lower end of the bucket), size_mean (mean over the book_count books of
            the bucket of time, in which a book without a level there counts as 0), size_last (of its last book) and
            book_count (int64); ordered by time, side and price. Places without a level in any book are absent. Empty with
            the same columns and dtypes if there is nothing. `attrs` has symbol, timeframe and price_width (`Decimal`; an int
            of steps if "fixed").

        Raises:
            InvalidInputError: symbol unknown, `price_width` no multiple of the price step, another timeframe or price
                type, a time naive, or `end` before `start`.
            DatabaseError: the server refuses, or sizes do not add up in 64 bits.
        """
        length = Timeframe.parse(aggregation)
        opens = bucket_selection(length, start, end, as_of).opens
        instrument, columns = await copy_out_scaled(
            self._conn,
            self._instruments,
            symbol,
            lambda found: by_price_query(found, length, price_width_steps(price_width, found), opens),
            BY_PRICE_TYPES,
        )
        rows = {name: column.data for name, column in columns.items()}
        frame = by_price_frame(rows, instrument, price_type)
        steps = price_width_steps(price_width, instrument)
        width = steps if price_type == "fixed" else Decimal(steps).scaleb(-instrument.price_scale)
        frame.attrs = {"symbol": instrument.symbol, "timeframe": length.label, "price_width": width}
        return frame


def book_columns(books: OrderBookColumns, instrument: Instrument) -> list[Column]:
    """Return snapshots of `insert_order_books` as the columns that are stored; raises as that does."""
    bids = _side_columns("bid", books.bid_prices, books.bid_sizes, books.bid_counts, instrument)
    asks = _side_columns("ask", books.ask_prices, books.ask_sizes, books.ask_counts, instrument)
    known = books.last_update_ids != UNKNOWN_UPDATE_ID
    update_ids = Column("last_update_id", "int8", books.last_update_ids, None if known.all() else known)
    return [Column("ts", "timestamptz", books.timestamps), update_ids, *bids, *asks]


def _side_columns(
    side: str,
    prices: NDArray[np.float64],
    sizes: NDArray[np.float64],
    counts: NDArray[np.int64],
    instrument: Instrument,
) -> list[Column]:
    # Padding becomes 0, which no present level has as a size and which `counts` leaves out of the stream.
    price_steps = to_steps(np.nan_to_num(prices), instrument.price_scale, field=f"{side}_prices")
    size_steps = to_steps(np.nan_to_num(sizes), instrument.size_scale, field=f"{side}_sizes")
    # int64 wraps around in silence; a sum in doubles is off by far too little to miss that.
    totals = size_steps.sum(axis=1, dtype=np.float64)
    check_rows(
        f"{side}_sizes", totals, totals >= _INT8_END, "has sizes that do not add up in 64 bits of steps"
    )
    best = price_steps[:, 0] if price_steps.shape[1] else np.zeros(len(counts), np.int64)
    return [
        Column(f"{side}_prices", "int8[]", price_steps, lengths=counts),
        Column(f"{side}_sizes", "int8[]", size_steps, lengths=counts),
        Column(f"best_{side}", "int8", best, None if counts.all() else counts > 0),
        Column(f"{side}_volume", "int8", size_steps.sum(axis=1)),
    ]


def books_from(columns: dict[str, Column], instrument: Instrument) -> OrderBookColumns:
    """Return what was read by `SELECT_BOOKS` as snapshots."""
    return OrderBookColumns(
        timestamps=columns["ts"].data,
        bid_prices=_padded(columns["bid_prices"], instrument.price_scale),
        bid_sizes=_padded(columns["bid_sizes"], instrument.size_scale),
        ask_prices=_padded(columns["ask_prices"], instrument.price_scale),
        ask_sizes=_padded(columns["ask_sizes"], instrument.size_scale),
        last_update_ids=columns["last_update_id"].data,
    )


def _padded(column: Column, scale: int) -> NDArray[np.float64]:
    values = from_steps(column.data, scale, "float")
    lengths = column.lengths if column.lengths is not None else np.zeros(len(values), np.int64)
    values[np.arange(values.shape[1]) >= lengths[:, None]] = np.nan
    return values
