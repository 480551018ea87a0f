"""All that is kept of one symbol, and of how many symbols it is."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache

from datalayer.cache.candle_answers import CandleAnswers
from datalayer.cache.candle_ladder import CandleLadder
from datalayer.cache.imbalance_series import ImbalanceSeries
from datalayer.cache.order_book_series import OrderBookSeries
from datalayer.cache.statistics import KINDS
from datalayer.cache.times import SECOND_US
from datalayer.cache.trade_series import TradeSeries
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable

    from datalayer.cache.settings import CacheSettings

logger = logging.getLogger(__name__)

_MAINTENANCE_US: Final = 30 * SECOND_US
_CANDLE_PARTS: Final = {timeframe: f"candles.{timeframe.label}" for timeframe in Timeframe}


class SymbolCache:
    """See the module. Not safe from several threads by itself.

    Args:
        symbol: canonical.
        settings: how much is kept.

    Attributes:
        answers: about the candles.
        candles: of all timeframes.
        trades: of the window, as are order books and imbalances.
        is_loaded: whether the database was read for it.
        maintain_at: when to drop what is old next, in microseconds.
    """

    __slots__ = (
        "_window_us",
        "answers",
        "candles",
        "imbalances",
        "is_loaded",
        "maintain_at",
        "order_books",
        "symbol",
        "trades",
    )

    def __init__(self, symbol: str, settings: CacheSettings) -> None:
        self.symbol = symbol
        self.answers = CandleAnswers(symbol)
        self._window_us = round(settings.window_s * SECOND_US)
        self.candles = CandleLadder(settings)
        self.trades = TradeSeries(settings.max_trades)
        self.order_books = OrderBookSeries(settings.max_order_books)
        self.imbalances = ImbalanceSeries(settings.max_order_books)
        self.is_loaded = False
        self.maintain_at = 0

    def drop_old(self, now: int) -> None:
        """Drop what is older than the window; the candles of higher timeframes are dropped by their number only."""
        self.candles.maintain(now)
        for events in (self.trades, self.order_books, self.imbalances):
            events.drop_before(now - self._window_us)

    def newest(self) -> dict[str, int | None]:
        """Return the time of the newest item of each kind, of a candle its close; None: there is none."""
        series = self.candles.series.values()
        closes = [one.ring.newest + one.length_us for one in series if one.ring.newest is not None]
        return {
            "candles": max(closes, default=None),
            "trades": self.trades.ring.newest,
            "order_books": self.order_books.newest,
            "imbalances": self.imbalances.ring.newest,
        }

    def last_times(self, as_of: int) -> dict[str, int]:
        """Return the times of the last items that were visible at a moment, as far as there are any; of candles, closes."""
        self.candles.settle(as_of)
        found = {}
        for timeframe, series in self.candles.series.items():
            position = series.ring.find(as_of - series.length_us + 1)
            if position:
                found[_CANDLE_PARTS[timeframe]] = series.ring.ints(position - 1)[0] + series.length_us
        for part, ring in (("trades", self.trades.ring), ("imbalances", self.imbalances.ring)):
            position = ring.find(as_of + 1)
            if position:
                found[part] = ring.ints(position - 1)[0]
        time = self.order_books.last_time(as_of + 1)
        return found if time is None else found | {"order_book": time}

    def items(self) -> Counter[str]:
        """Return how many items there are of each kind."""
        return Counter(
            candles=sum(len(one.ring) for one in self.candles.series.values()),
            trades=len(self.trades.ring),
            order_books=len(self.order_books),
            imbalances=len(self.imbalances.ring),
        )

    def evictions(self) -> Counter[str]:
        """Return how many items of each kind were dropped."""
        return Counter(
            candles=sum(one.evicted for one in self.candles.series.values()),
            trades=self.trades.evicted,
            order_books=self.order_books.evicted,
            imbalances=self.imbalances.evicted,
        )

    def memory_bytes(self) -> Counter[str]:
        """Return about how much memory each kind takes."""
        return Counter(
            candles=sum(one.nbytes for one in self.candles.series.values()) + self.answers.nbytes,
            trades=self.trades.ring.nbytes,
            order_books=self.order_books.nbytes,
            imbalances=self.imbalances.ring.nbytes,
        )


class SymbolStore(TTLCache[str, SymbolCache]):
    """Symbols by name, at most so many; one that nothing was put into for a while is dropped.

    Args:
        settings: how much is kept.
        clock_us: returns the time in microseconds.

    Attributes:
        evictions: items of each kind that went with their symbol, or had been dropped before.
        evicted_symbols: number of symbols that were dropped.
        late_candles: of the symbols that are gone.
        fresh: the symbols again, quick to find; none of them runs out before its `maintain_at`.
    """

    def __init__(self, settings: CacheSettings, clock_us: Callable[[], int]) -> None:
        ttl_us = round(settings.symbol_ttl_s * SECOND_US)
        super().__init__(settings.max_symbols, ttl_us, clock_us)
        self._maintenance_us = min(_MAINTENANCE_US, ttl_us // 2)
        self.fresh: dict[str, SymbolCache] = {}
        self.evictions: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.evicted_symbols = 0
        self.late_candles = 0
        self._settings = settings

    def find(self, symbol: str) -> SymbolCache | None:
        """Return a symbol; None: it is not there. As `get`, in half the time."""
        try:
            return self[symbol]
        except KeyError:
            return None

    def writable(self, symbol: str, now: int) -> SymbolCache:
        """Return a symbol, new if it is not there; its time begins anew. Drops what has become too old from time to time."""
        found = self.find(symbol)
        if found is not None and now < found.maintain_at:
            return found
        if found is None:
            found = SymbolCache(symbol, self._settings)
        else:
            found.drop_old(now)
        self[symbol] = self.fresh[symbol] = found
        found.maintain_at = now + self._maintenance_us
        return found

    def expire(self, time: int | None = None) -> list[tuple[str, SymbolCache]]:  # type: ignore[override]
        """Drop the symbols that nothing was put into for too long."""
        gone = list(super().expire(time))
        for symbol, state in gone:
            self._count(state)
            logger.info("the cache dropped %s: nothing was put into it for too long", symbol)
        return gone

    def popitem(self) -> tuple[str, SymbolCache]:
        """Drop the symbol that was used least recently."""
        symbol, state = super().popitem()
        self._count(state)
        logger.warning("the cache dropped %s to make room; it holds %d symbols at most", symbol, self.maxsize)
        return symbol, state

    def _count(self, state: SymbolCache) -> None:
        del self.fresh[state.symbol]
        self.evicted_symbols += 1
        self.late_candles += state.candles.losses
        self.evictions += state.items() + state.evictions()
