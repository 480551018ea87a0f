"""What a cache takes from the database."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.cache.frame_rows import times_us, trade_rows
from datalayer.cache.stored_candles import StoredCandles
from datalayer.cache.times import microseconds
from datalayer.cache.writes import CacheWrites
from datalayer.domain.moments import from_microseconds
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories import CandleRepository, OrderBookRepository, TradeRepository
from datalayer.repositories.imbalances import ImbalanceRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.cache.rows import Row
    from datalayer.domain.order_book import OrderBookColumns

_ITEMS_PER_TURN: Final = 500


class CacheLoads(CacheWrites):
    """The side of `DataCacheManager` that reads the database."""

    async def warm_up(self, conn: AsyncConnection, symbols: Sequence[str]) -> None:
        """Fill the cache from the database. May be repeated, and run while data come in live, which it never overwrites.

        Loaded are the candles of each timeframe, the 1s candles of `correction_s`, and the trades, order books and
        imbalances of the window, as visible now. Also filled are holes (`get_unknown_candles`): repeat it when what made
        them has been written.

        Nothing is lost in between if the feed runs before it begins, and what an earlier process had accepted, and what was
        put in more than `correction_s` ago, has been written to the database by then.

        Args:
            conn: connection inside the caller's transaction, at READ COMMITTED.
            symbols: registered instruments, in any known spelling.

        Raises:
            InvalidInputError: a symbol is unknown to the database; those before it are loaded.
            DatabaseError: the server refuses.
        """
        for symbol in symbols:
            with self._lock:
                as_of = from_microseconds(self._read_clock())
                state = self._find(symbol)
                losses = 0 if state is None else state.candles.losses
            canonical = canonical_symbol(symbol)
            await self._load_candles(conn, canonical, as_of, losses)
            await self._load_events(conn, canonical, as_of)
            with self._lock:
                self._writable(canonical).is_loaded = True

    def needs_warm_up(self, symbol: str) -> bool:
        """Tell whether something was put in of a symbol, and `warm_up` has not loaded it.

        The candles in which its feed began are not known then, and whoever asks the database for them gets what is written by
        now. Also true of a symbol that was dropped and put in again.

        Args:
            symbol: in any known spelling.

        Raises:
            InvalidInputError: `symbol` names no pair.
        """
        with self._lock:
            self._read_clock()
            state = self._find(symbol)
            return state is not None and not state.is_loaded

    async def _load_candles(self, conn: AsyncConnection, symbol: str, as_of: datetime, losses: int) -> None:
        limit = self.settings.candles_per_timeframe
        stored = StoredCandles(CandleRepository(conn), symbol, as_of, limit)
        start = as_of - timedelta(seconds=self.settings.correction_s)
        seconds = await stored.seconds(start)
        await self._each(seconds, lambda row: self._put_second(symbol, row))
        with self._lock:
            self._writable(symbol).candles.know_from(microseconds(start, "as_of"), self._now_us)
        for timeframe in Timeframe:
            if timeframe != Timeframe.S1:
                loaded = await stored.of(timeframe, losses)
                with self._lock:
                    self._writable(symbol).candles.load(timeframe, loaded, self._now_us)

    def _put_second(self, symbol: str, row: Row) -> None:
        self._writable(symbol).candles.put(Timeframe.S1, row, is_forming=False, now=self._now_us)

    async def _load_events(self, conn: AsyncConnection, symbol: str, as_of: datetime) -> None:
        start = as_of - timedelta(seconds=self.settings.window_s)
        trades = await TradeRepository(conn).query_trades(symbol, start, as_of=as_of)
        await self._each(
            trade_rows(trades), lambda row: self._writable(symbol).trades.put(self._since(), *row)
        )
        books = await OrderBookRepository(conn).query_orderbook_snapshots(symbol, start, as_of=as_of)
        items = zip(_times_us(books), (books.book(row, symbol) for row in range(len(books))), strict=True)
        await self._each(items, lambda row: self._writable(symbol).order_books.put(self._since(), *row))
        frame = await ImbalanceRepository(conn).query_orderbook_imbalances(symbol, start, as_of=as_of)
        values = frame[list(IMBALANCES)].to_numpy().tolist()
        imbalances = zip(times_us(frame).tolist(), values, strict=True)
        await self._each(imbalances, lambda row: self._writable(symbol).imbalances.load(*row))

    async def _each(self, items: Iterable[Any], put: Callable[[Any], object]) -> None:
        """Put items in, each under the lock for itself, and let others have their turn."""
        for number, item in enumerate(items):
            with self._lock:
                put(item)
            if number % _ITEMS_PER_TURN == _ITEMS_PER_TURN - 1:
                await asyncio.sleep(0)


def _times_us(books: OrderBookColumns) -> list[int]:
    times: list[int] = books.timestamps.view(np.int64).tolist()
    return times
