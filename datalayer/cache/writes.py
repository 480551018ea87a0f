"""What a cache takes in, and gives up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.cache.frame_rows import candle_rows, trade_of, trade_rows
from datalayer.cache.guarded_store import GuardedStore
from datalayer.cache.rows import candle_of, row_of
from datalayer.cache.times import microseconds
from datalayer.domain.candle import Candle
from datalayer.domain.order_book import OrderBook
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Trade

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import pandas as pd

    from datalayer.cache.listeners import CacheListener
    from datalayer.domain.imbalances import OrderBookImbalances


class CacheWrites(GuardedStore):
    """The writing side of `DataCacheManager`."""

    def put_candle(self, candle: Candle) -> None:
        """Take in a candle; a later one of the same time replaces the earlier, a forming one never a closed one.

        Args:
            candle: validated. 1s candles older than `correction_s` are not kept.

        Raises:
            InvalidInputError: its time is naive or no open time of its timeframe, a number is not finite, or the symbol
                names no pair.
        """
        row = row_of(candle)
        with self._lock:
            state = self._writable(candle.symbol)
            is_new = state.candles.put(candle.timeframe, row, is_forming=candle.is_forming, now=self._now_us)
        if is_new and self._listeners:
            self._listeners.tell(state.symbol, candle)

    def put_candles(self, symbol: str, timeframe: Timeframe | str, frame: pd.DataFrame) -> None:
        """Take in closed candles, one by one in the order of the frame.

        Args:
            symbol: in any known spelling.
            timeframe: length of the candles.
            frame: as `CandleRepository.upsert_candles` takes it.

        Raises:
            InvalidInputError: as for `put_candle`, or a column is missing or twice. Nothing is taken in.
        """
        length = Timeframe.parse(timeframe)
        for row in candle_rows(frame, length):
            with self._lock:
                state = self._writable(symbol)
                is_new = state.candles.put(length, row, is_forming=False, now=self._now_us)
            if is_new and self._listeners:
                self._listeners.tell(state.symbol, candle_of(state.symbol, length, row))

    def put_trade(self, trade: Trade) -> None:
        """Take in a trade, validated; one whose time and id are there already is ignored.

        Raises:
            InvalidInputError: its time is naive, or the symbol names no pair.
        """
        ints = microseconds(trade.ts, "ts"), trade.trade_id, trade.side
        floats = float(trade.price), float(trade.size)
        with self._lock:
            state = self._writable(trade.symbol)
            is_new = state.trades.put(self._since(), ints, floats)
        if is_new and self._listeners:
            self._listeners.tell(state.symbol, trade)

    def put_trades(self, symbol: str, frame: pd.DataFrame) -> None:
        """Take in trades, as `put_trade` does.

        Args:
            symbol: in any known spelling.
            frame: as `TradeRepository.insert_trades` takes it.

        Raises:
            InvalidInputError: a column is missing or twice, a time is naive or missing, or the symbol names no pair.
        """
        for row in trade_rows(frame):
            with self._lock:
                state = self._writable(symbol)
                is_new = state.trades.put(self._since(), *row)
            if is_new and self._listeners:
                self._listeners.tell(state.symbol, trade_of(state.symbol, *row))

    def put_orderbook(self, book: OrderBook) -> None:
        """Take in an order book, validated; one whose time is there already is ignored.

        Raises:
            InvalidInputError: its time is naive, or the symbol names no pair.
        """
        time = microseconds(book.ts, "ts")
        with self._lock:
            state = self._writable(book.symbol)
            is_new = state.order_books.put(self._since(), time, book)
        if is_new and self._listeners:
            self._listeners.tell(state.symbol, book)

    def put_imbalances(self, imbalances: OrderBookImbalances) -> None:
        """Take in imbalances; later ones of the same time replace the earlier, but what is NaN replaces nothing.

        Raises:
            InvalidInputError: the time is naive, or the symbol names no pair.
        """
        time, values = microseconds(imbalances.ts, "ts"), list(imbalances.values().values())
        with self._lock:
            state = self._writable(imbalances.symbol)
            is_new = state.imbalances.put(self._since(), time, values)
        if is_new and self._listeners:
            self._listeners.tell(state.symbol, imbalances)

    def discard(self, item: Candle | Trade | OrderBook | OrderBookImbalances) -> bool:
        """Take out again what the write path refused, and restore what it had replaced.

        Restored are the last four revisions of a candle or of imbalances, and the rolled-up candle behind a stored one. Rolled-up
        candles are corrected; where the 1s candles are not kept any more, they become unknown.

        Args:
            item: equal to what was put in.

        Returns:
            Whether it was there; one that was loaded from the database is not taken out.
        """
        with self._lock:
            self._read_clock()
            state = self._find(item.symbol)
            if state is None:
                return False
            if isinstance(item, Candle):
                row = row_of(item)
                return state.candles.discard(
                    item.timeframe, row, is_forming=item.is_forming, now=self._now_us
                )
            if isinstance(item, Trade):
                return state.trades.discard(item)
            if isinstance(item, OrderBook):
                return state.order_books.discard(item)
            return state.imbalances.discard(item)

    def mark_complete(
        self, symbol: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> None:
        """Say that all 1s candles that exist have been put in: what is silent was silent, and is not on its way.

        Args:
            symbol: in any known spelling.
            since: first open time, aware, included, for instance where a backfill at the start began. None: as known before.
            until: aware, excluded: candles that are over by then are closed at once. None: as known before.

        Raises:
            InvalidInputError: a time is naive, or the symbol names no pair.
        """
        first = None if since is None else microseconds(since, "since")
        last = None if until is None else microseconds(until, "until")
        with self._lock:
            state = self._writable(symbol)
            state.candles.mark_complete(first, last, self._now_us)
        self._listeners.tell(state.symbol, None)

    def add_listener(self, listener: CacheListener) -> Callable[[], None]:
        """Be told of what comes in.

        A candle that is rolled up closes without being put in: who waits for one looks for it whenever a 1s candle or None
        comes, and `settle_s` after it is over.

        Args:
            listener: is called in the thread that writes, after the cache has it, with the canonical symbol, and the candle,
                trade, order book or imbalances that were put in and said something new; or None: `mark_complete` was called.
                It has to be quick. What it raises is logged and goes no further. What `warm_up` loads, and what is taken
                out again, it is not told. Of several threads that write, each is told of in its own order.

        Returns:
            What removes it again; may be called more than once.
        """
        return self._listeners.add(listener)
