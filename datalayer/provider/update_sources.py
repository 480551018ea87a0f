"""What a subscription gives: events as they come in, or candles as they close."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from datalayer.domain.candle import UNKNOWN_COUNT, Candle
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from datalayer.cache import CandleArrays, DataCacheManager
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade
    from datalayer.provider.update_queue import UpdateQueue
    from datalayer.provider.updates import UpdateGap

_SHORTEST_S: Final = 0.01
_ROOM: Final = 2


class UpdateSource(ABC):
    """What a subscription gives; of one symbol."""

    symbol: str

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Number of updates that wait to be taken."""

    def begin(self) -> None:  # noqa: B027 (nothing by default)
        """Take note of where to begin."""

    @abstractmethod
    def takes(self, item: Any) -> bool:
        """Take in what came into the cache, in the thread that writes; tell whether `look` should be called."""

    def look(self) -> float | None:
        """See what is new; return seconds after which to look again though nothing comes. None: need not be."""
        return None

    @abstractmethod
    async def next(self) -> Any:
        """Return the next update, or None: there is none yet.

        Raises:
            SlowConsumerError: too many waited.
        """


class EventSource(UpdateSource):
    """Order books or trades.

    Args:
        queue: of what waits.
        symbol: canonical.
        kind: type of the events.
    """

    def __init__(
        self, queue: UpdateQueue[OrderBook | Trade], symbol: str, kind: type[OrderBook | Trade]
    ) -> None:
        self.symbol = symbol
        self._queue = queue
        self._kind = kind

    @property
    def waiting(self) -> int:
        """Number of updates that wait to be taken."""
        return len(self._queue)

    def takes(self, item: Any) -> bool:
        """Take in what came into the cache."""
        if type(item) is not self._kind:
            return False
        self._queue.put(item)
        return True

    async def next(self) -> OrderBook | Trade | UpdateGap | None:
        """Return the next update, or None."""
        return self._queue.take()


class CandleSource(UpdateSource):
    """Candles of one timeframe, when they are closed and whole.

    Args:
        cache: where they come in.
        queue: of what waits.
        symbol: canonical.
        timeframe: of the candles.
        include_forming: whether the last state of the candle that forms is given too.
        since: first open time, aware; None: from now on.
        read_page: reads candles from an open time on, and tells up to which they are all that there are.
    """

    def __init__(
        self,
        cache: DataCacheManager,
        queue: UpdateQueue[Candle],
        symbol: str,
        timeframe: Timeframe,
        *,
        include_forming: bool,
        since: datetime | None,
        read_page: Callable[[datetime], Awaitable[tuple[list[Candle], datetime, bool]]],
    ) -> None:
        self.symbol = symbol
        self._cache = cache
        self._queue = queue
        self._timeframe = timeframe
        self._settle = timedelta(seconds=cache.settings.settle_s)
        self._include_forming = include_forming
        self._page_from = since
        self._read_page = read_page
        self._page: list[Candle] = []
        self._next_open: datetime | None = None
        self._forming: Candle | None = None
        self._shown_forming: Candle | None = None

    @property
    def waiting(self) -> int:
        """Number of updates that wait to be taken."""
        return len(self._queue) + len(self._page) + (self._forming is not None)

    def begin(self) -> None:
        """Begin with the first candle that was not whole by now."""
        if self._page_from is None:
            arrays = self._cache.get_latest_ohlcv_arrays(self.symbol, self._timeframe, 1)
            first = self._timeframe.floor(self._cache.now - self._settle)
            if len(arrays):
                first = max(first, _opened(arrays, -1) + self._timeframe.length)
            self._next_open = first

    def takes(self, item: Any) -> bool:
        """Tell whether a candle may have closed, or changed."""
        return item is None or (type(item) is Candle and item.timeframe <= self._timeframe)

    def look(self) -> float | None:
        """See which candles have closed; return when the next one will, at the latest."""
        if self._next_open is None:  # still catching up
            return None
        now = self._cache.now
        count = max((now - self._next_open) // self._timeframe.length, 0) + _ROOM
        # At `now`: a feed in another thread goes on, and more would have closed than are counted.
        arrays = self._cache.get_latest_ohlcv_arrays(
            self.symbol, self._timeframe, count, include_forming=self._include_forming, as_of=now
        )
        forming = None
        for row, is_forming in enumerate(arrays.is_forming.tolist()):
            if _opened(arrays, row) < self._next_open:
                continue
            candle = _candle(arrays, row, is_forming=is_forming)
            if is_forming:
                forming = candle
            else:
                self._queue.put(candle)
                self._next_open = candle.closed_at
        self._forming = forming if forming != self._shown_forming else None
        return self._wait_s(now)

    async def next(self) -> Candle | UpdateGap | None:
        """Return the next candle, or None."""
        while self._page_from is not None and not self._page:
            self._page, until, is_last = await self._read_page(self._page_from)
            self._page.reverse()
            self._page_from = None if is_last else until
            if is_last:
                self._next_open = until
                self.look()
        if self._page:
            return self._page.pop()
        update = self._queue.take()
        if update is None and self._forming is not None:
            update, self._forming = self._forming, None
            self._shown_forming = update
        return update

    def _wait_s(self, now: datetime) -> float:
        over = self._timeframe.floor(now) + self._timeframe.length
        if self._timeframe is not Timeframe.S1:
            settled = self._timeframe.floor(now) + self._settle
            over = settled if settled > now else over
        return max((over - now).total_seconds(), _SHORTEST_S)


def _opened(arrays: CandleArrays, row: int) -> datetime:
    moment: datetime = arrays.timestamps[row].item()
    return moment.replace(tzinfo=UTC)


def _candle(arrays: CandleArrays, row: int, *, is_forming: bool) -> Candle:
    count = int(arrays.trade_count[row])
    columns = (arrays.open, arrays.high, arrays.low, arrays.close, arrays.volume)
    opened, high, low, close, volume = (float(column[row]) for column in columns)
    return Candle(
        arrays.symbol,
        arrays.timeframe,
        _opened(arrays, row),
        opened,
        high,
        low,
        close,
        volume,
        None if count == UNKNOWN_COUNT else count,
        is_forming,
    )
