"""`DataCacheManager`: the latest market data in memory, written by the feed and read by everybody."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from datalayer.cache.candle_reads import Visibility, visible_candles
from datalayer.cache.event_frames import imbalance_frame, trade_frame
from datalayer.cache.reports import CacheReports, ages_s
from datalayer.cache.snapshot import CacheSnapshot
from datalayer.cache.symbol_cache import SymbolCache
from datalayer.cache.times import microseconds
from datalayer.domain.moments import from_microseconds
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.timings import timed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import pandas as pd

    from datalayer.cache.candle_arrays import CandleArrays
    from datalayer.domain.imbalances import OrderBookImbalances
    from datalayer.domain.order_book import OrderBook


class DataCacheManager(CacheReports):
    """The latest market data of some symbols in memory.

    Of each symbol it keeps a rolling window of 1s candles, trades, order books and imbalances, and the last candles of every
    higher timeframe, which it rolls up from the 1s candles as they come; one that was put in at its own timeframe is given
    instead of the rolled-up one. What it gives is what the database will give for the same moment, except where it says that
    it does not know.

    *Visible* at a moment are candles that were closed by then and events up to then, by exchange time; data from the future
    wait. A rolled-up candle that is over is given as closed as soon as it is known that none of its 1s candles is missing:
    a later one has come, or `mark_complete` said so, or `settle_s` have passed.

    *Not known* are: rolled-up candles that opened before the first 1s candle (until `warm_up` or `mark_complete`); those
    whose 1s candles changed after `correction_s`; and those in which stored candles have minutes without any 1s candle, of
    which the database makes other candles. They are absent, never guessed. `complete_from` and `complete_until` of an
    answer say where nothing is missing; `get_unknown_candles` lists holes, which the next `warm_up` fills.

    Safe from any number of threads and tasks: nothing waits but for a lock that is held for microseconds. Answers are copies
    or immutable.

    Args:
        settings: how much is kept.
        clock: returns the time, aware. A replay of old data needs a clock that shows their time, since everything else is
            too old to be kept.
    """

    @timed("cache", "ohlcv")
    def get_latest_ohlcv(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        n: int,
        *,
        include_forming: bool = False,
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """Return the last candles, in the form of `CandleRepository.query_ohlcv_data`.

        Args:
            symbol: in any known spelling.
            timeframe: length of the candles.
            n: number of candles; there are fewer if fewer are kept. Of 1s, those of the last `window_s`.
            include_forming: add those that are not closed, which count for `n`, and a column is_forming (bool): the candle
                that the moment lies in, made of the 1s candles that were closed, or else the last revision that was put in
                by then; and one that is over and still waits for its last 1s candles.
            as_of: what was visible at this moment, aware. None: now.

        Returns:
            A frame as `CandleArrays.to_frame` gives it; empty with the same columns and dtypes if there is nothing, also of a
            symbol that is not kept.

        Raises:
            InvalidInputError: `symbol` names no pair, `timeframe` is none, `n` is negative, or `as_of` is naive.
        """
        arrays = self.get_latest_ohlcv_arrays(
            symbol, timeframe, n, include_forming=include_forming, as_of=as_of
        )
        return arrays.to_frame(with_forming=include_forming)

    @timed("cache", "ohlcv_arrays")
    def get_latest_ohlcv_arrays(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        n: int,
        *,
        include_forming: bool = False,
        as_of: datetime | None = None,
    ) -> CandleArrays:
        """Return what `get_latest_ohlcv` does, as arrays, in a fraction of the time; immutable, and the same while nothing changes."""
        length, count = Timeframe.parse(timeframe), _count(n)
        with self._lock:
            state, at = self._state(symbol, as_of)
            return self._candles(state, length, count, at, include_forming=include_forming)

    @timed("cache", "snapshot")
    def get_snapshot(
        self,
        symbol: str,
        timeframes: Iterable[Timeframe | str],
        n: int,
        *,
        include_forming: bool = False,
        as_of: datetime | None = None,
    ) -> CacheSnapshot:
        """Return candles of several timeframes, the last order book and the last imbalances: all of one moment and one state.

        Args:
            symbol: in any known spelling.
            timeframes: of the candles.
            n: number of candles of each.
            include_forming: see `get_latest_ohlcv`.
            as_of: what was visible at this moment, aware. None: now.

        Raises:
            InvalidInputError: as from `get_latest_ohlcv`.
        """
        lengths, count = [Timeframe.parse(timeframe) for timeframe in timeframes], _count(n)
        with self._lock:
            state, at = self._state(symbol, as_of)
            candles = {
                length: self._candles(state, length, count, at, include_forming=include_forming)
                for length in lengths
            }
            book, imbalances = self._last_book(state, at), self._last_imbalances(state, at)
            times = state.last_times(at.as_of)
        ages = ages_s(at.as_of, times)
        return CacheSnapshot(state.symbol, from_microseconds(at.as_of), candles, book, imbalances, ages)

    @timed("cache", "orderbook")
    def get_latest_orderbook(self, symbol: str, *, as_of: datetime | None = None) -> OrderBook | None:
        """Return the last order book of the window.

        Args:
            symbol: in any known spelling.
            as_of: what was visible at this moment, aware. None: now.

        Returns:
            The book, whose time says how old it is, at most `window_s`; None: there is none.

        Raises:
            InvalidInputError: `symbol` names no pair, or `as_of` is naive.
        """
        with self._lock:
            return self._last_book(*self._state(symbol, as_of))

    @timed("cache", "imbalances")
    def get_latest_imbalances(
        self, symbol: str, *, as_of: datetime | None = None
    ) -> OrderBookImbalances | None:
        """Return the last imbalances of the window; otherwise as `get_latest_orderbook`."""
        with self._lock:
            return self._last_imbalances(*self._state(symbol, as_of))

    @timed("cache", "recent_orderbooks")
    def get_recent_orderbooks(self, symbol: str, *, as_of: datetime | None = None) -> tuple[OrderBook, ...]:
        """Return the order books of the last `window_s` until `as_of` (aware; None: now), ascending."""
        with self._lock:
            state, at = self._state(symbol, as_of)
            found = state.order_books.between(*at.events)
            self._note("order_books", is_hit=bool(found))
            return found

    @timed("cache", "recent_trades")
    def get_recent_trades(self, symbol: str, *, as_of: datetime | None = None) -> pd.DataFrame:
        """Return the trades of the last `window_s` until `as_of` (aware; None: now), as `TradeRepository.query_trades`."""
        with self._lock:
            state, at = self._state(symbol, as_of)
            found = state.trades.between(*at.events)
            self._note("trades", is_hit=found[0].shape[1] > 0)
        return trade_frame(*found)

    @timed("cache", "recent_imbalances")
    def get_recent_imbalances(self, symbol: str, *, as_of: datetime | None = None) -> pd.DataFrame:
        """Return the imbalances of the last `window_s` until `as_of` (aware; None: now).

        Returns:
            A frame as from `ImbalanceRepository.query_orderbook_imbalances`.
        """
        with self._lock:
            state, at = self._state(symbol, as_of)
            found = state.imbalances.between(*at.events)
            self._note("imbalances", is_hit=found[0].shape[1] > 0)
        return imbalance_frame(*found)

    def _state(self, symbol: str, as_of: datetime | None) -> tuple[SymbolCache, Visibility]:
        """Return a symbol, an empty one if it is not kept, and what is visible."""
        now = self._read_clock()
        at = now if as_of is None else microseconds(as_of, "as_of")
        found = self._find(symbol) or SymbolCache(canonical_symbol(symbol), self.settings)
        return found, Visibility(at, now, self._window_us, self._settle_us)

    def _candles(
        self, state: SymbolCache, timeframe: Timeframe, n: int, at: Visibility, *, include_forming: bool
    ) -> CandleArrays:
        chosen = visible_candles(state.candles, timeframe, n, at, include_forming=include_forming)
        found = state.answers.get(timeframe, n, state.candles.series[timeframe], chosen)
        self._note("candles", is_hit=len(found) > 0)
        return found

    def _last_book(self, state: SymbolCache, at: Visibility) -> OrderBook | None:
        found = state.order_books.last(*at.events)
        self._note("order_books", is_hit=found is not None)
        return found

    def _last_imbalances(self, state: SymbolCache, at: Visibility) -> OrderBookImbalances | None:
        found = state.imbalances.last(state.symbol, *at.events)
        self._note("imbalances", is_hit=found is not None)
        return found


def _count(n: Any) -> int:
    try:
        count = index(n)
    except TypeError:
        raise InvalidInputError("n", n, "give a whole number, 0 or more") from None
    if count < 0:
        raise InvalidInputError("n", n, "give a whole number, 0 or more")
    return count
