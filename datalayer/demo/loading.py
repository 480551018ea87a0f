"""Writing the demo's data in batches, with what came of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from time import perf_counter
from typing import TYPE_CHECKING, Final

from datalayer.demo.samples import SYMBOL
from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.steps import infer_scale
from datalayer.domain.write_counts import WriteCounts
from datalayer.repositories.candles import CandleRepository
from datalayer.repositories.instruments import InstrumentRepository
from datalayer.repositories.order_books import OrderBookRepository
from datalayer.repositories.trades import TradeRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.timeframe import Timeframe

_BATCH_ROWS: Final = 5_000
_BATCH_BOOKS: Final = 250


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of writing one kind of data.

    Attributes:
        kind: what it is, for people.
        counts: inserted, updated and unchanged rows.
        seconds: time in the database.
    """

    kind: str
    counts: WriteCounts
    seconds: float

    @property
    def rows(self) -> int:
        """All rows that were handed in."""
        return self.counts.inserted + self.counts.updated + self.counts.unchanged


async def register_instrument(
    engine: AsyncEngine, month: pd.DataFrame, trades: pd.DataFrame, books: OrderBookColumns
) -> None:
    """Register the symbol with the scales that its data needs."""
    prices = (month[["open", "high", "low", "close"]], trades["price"], books.bid_prices, books.ask_prices)
    sizes = (month["volume"], trades["size"], books.bid_sizes, books.ask_sizes)
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(
            SYMBOL, max(infer_scale(part) for part in prices), max(infer_scale(part) for part in sizes)
        )


async def load_candles(
    engine: AsyncEngine, timeframe: Timeframe, frame: pd.DataFrame, advance: Callable[[int], None]
) -> Loaded:
    """Write candles; `advance` is told the number of rows after each batch."""

    async def write(conn: AsyncConnection, rows: slice) -> WriteCounts:
        return await CandleRepository(conn).upsert_candles(SYMBOL, timeframe, frame.iloc[rows])

    return await _in_batches(engine, f"{timeframe.label} candles", (len(frame), _BATCH_ROWS), write, advance)


async def load_trades(engine: AsyncEngine, frame: pd.DataFrame, advance: Callable[[int], None]) -> Loaded:
    """Write trades; `advance` is told the number of rows after each batch."""

    async def write(conn: AsyncConnection, rows: slice) -> WriteCounts:
        return await TradeRepository(conn).insert_trades(SYMBOL, frame.iloc[rows])

    return await _in_batches(engine, "trades", (len(frame), _BATCH_ROWS), write, advance)


async def load_books(engine: AsyncEngine, books: OrderBookColumns, advance: Callable[[int], None]) -> Loaded:
    """Write snapshots of the order book; `advance` is told their number after each batch."""

    async def write(conn: AsyncConnection, rows: slice) -> WriteCounts:
        part = OrderBookColumns(*(getattr(books, field.name)[rows] for field in fields(books)))
        return await OrderBookRepository(conn).insert_order_books(SYMBOL, part)

    return await _in_batches(engine, "order books, 2 x 20 levels", (len(books), _BATCH_BOOKS), write, advance)


async def _in_batches(
    engine: AsyncEngine,
    kind: str,
    batches: tuple[int, int],
    write: Callable[[AsyncConnection, slice], Awaitable[WriteCounts]],
    advance: Callable[[int], None],
) -> Loaded:
    rows, batch = batches
    counts = WriteCounts()
    began = perf_counter()
    for first in range(0, rows, batch):
        async with engine.begin() as conn:
            counts += await write(conn, slice(first, first + batch))
        advance(min(batch, rows - first))
    return Loaded(kind, counts, perf_counter() - began)
