"""The blocking twin of the API, for threads, scripts and notebooks.

    import datalayer.sync

    with datalayer.sync.connect(symbols=["BTC/USDT"]) as market:
        market.get_inference_data("BTC/USDT")

Everything runs in one event loop in a thread of its own: any number of threads may call at the same time, also beside a
running event loop, as in Jupyter. A process that was forked from the one that opened a provider has to open its own.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from datalayer import provider as asynchronous
from datalayer.cache.guarded_store import wall_clock
from datalayer.config import Settings
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import ProviderClosedError
from datalayer.provider.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    import pandas as pd

    from datalayer.cache import DataCacheManager
    from datalayer.domain.coverage import CoverageReport, StoredRange
    from datalayer.domain.feed_gap import FeedGap, GapState
    from datalayer.domain.indicators import Indicator
    from datalayer.domain.inference_frame import InferenceDataFrame
    from datalayer.domain.order_book_frame import Aggregation, OrderBookDataFrame
    from datalayer.provider.health import ProviderHealth
    from datalayer.provider.settings import ProviderSettings
    from datalayer.provider.updates import Update, WhenSlow

__all__ = ["Subscription", "UnifiedDataProvider", "connect"]

logger = logging.getLogger(__name__)
T = TypeVar("T")


class UnifiedDataProvider:
    """`datalayer.UnifiedDataProvider` for code that blocks: the same methods with the same arguments, answers and errors.

    Safe from any number of threads. Closes with `close()`, at the end of `with`, or with the interpreter.

    Args:
        settings: of the database; `database_url` must be set.
        symbols: as for `datalayer.UnifiedDataProvider`, as are those that follow.
        timeframes: likewise.
        indicators: likewise.
        cache: likewise; it may be filled by any thread.
        provider_settings: likewise, its `settings`.
        clock: likewise.

    Raises:
        ConfigurationError: `settings.database_url` is not set.
        InvalidInputError: as from `datalayer.UnifiedDataProvider`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        symbols: Iterable[str] | None = None,
        timeframes: Iterable[Timeframe | str] = tuple(Timeframe),
        indicators: Sequence[Indicator] = (),
        cache: DataCacheManager | None = None,
        provider_settings: ProviderSettings | None = None,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._provider = asynchronous.UnifiedDataProvider.from_settings(
            settings,
            symbols=symbols,
            timeframes=timeframes,
            indicators=indicators,
            cache=cache,
            provider_settings=provider_settings,
            clock=clock,
        )
        self._thread = LoopThread("datalayer.sync", self._provider.close)

    @property
    def asynchronous(self) -> asynchronous.UnifiedDataProvider:
        """The provider itself, for coroutines that `run` is given."""
        return self._provider

    @property
    def cache(self) -> DataCacheManager:
        """The latest data; it may be used from any thread."""
        return self._provider.cache

    @property
    def symbols(self) -> tuple[str, ...]:
        """As `datalayer.UnifiedDataProvider.symbols`."""
        return self._provider.symbols

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """As `datalayer.UnifiedDataProvider.timeframes`."""
        return self._provider.timeframes

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns in the event loop of the provider, for instance one that feeds a pipeline.

        Raises:
            ProviderClosedError: it is closed, or this is its own event loop.
            ForkedProcessError: this process is a fork of the one that opened it.
        """
        return self._thread.run(coroutine)

    def open(self) -> Self:
        """As `datalayer.UnifiedDataProvider.open`."""
        self.run(self._provider.open())
        return self

    def close(self) -> None:
        """End everything, and the thread too. May be repeated; nothing is opened again afterwards."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get_inference_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        context_window_minutes: float = 5.0,
        *,
        timeframes: Iterable[Timeframe | str] | None = None,
        candles: int = 100,
        indicators: Sequence[Indicator] | None = None,
        include_forming: bool = True,
        include_order_book: bool = True,
        max_age_s: float | Mapping[str, float] | None = None,
    ) -> InferenceDataFrame:
        """As `datalayer.UnifiedDataProvider.get_inference_data`."""
        return self.run(
            self._provider.get_inference_data(
                symbol,
                timestamp,
                context_window_minutes,
                timeframes=timeframes,
                candles=candles,
                indicators=indicators,
                include_forming=include_forming,
                include_order_book=include_order_book,
                max_age_s=max_age_s,
            )
        )

    def get_multi_timeframe_data(
        self,
        symbol: str,
        timeframes: Iterable[Timeframe | str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        *,
        align: bool = True,
        as_of: datetime | None = None,
        include_forming: bool = False,
        max_age_s: float | Mapping[str, float] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """As `datalayer.UnifiedDataProvider.get_multi_timeframe_data`."""
        return self.run(
            self._provider.get_multi_timeframe_data(
                symbol,
                timeframes,
                start,
                end,
                limit,
                align=align,
                as_of=as_of,
                include_forming=include_forming,
                max_age_s=max_age_s,
            )
        )

    @overload
    def get_order_book_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        aggregation: Aggregation = "raw",
        limit: None = None,
        *,
        max_age_s: float | None = None,
    ) -> OrderBookDataFrame: ...

    @overload
    def get_order_book_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        aggregation: Aggregation = "raw",
        *,
        limit: int,
        max_age_s: float | None = None,
    ) -> list[OrderBookDataFrame]: ...

    def get_order_book_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        aggregation: Aggregation = "raw",
        limit: int | None = None,
        *,
        max_age_s: float | None = None,
    ) -> OrderBookDataFrame | list[OrderBookDataFrame]:
        """As `datalayer.UnifiedDataProvider.get_order_book_data`."""
        if limit is None:
            return self.run(
                self._provider.get_order_book_data(symbol, timestamp, aggregation, max_age_s=max_age_s)
            )
        return self.run(
            self._provider.get_order_book_data(
                symbol, timestamp, aggregation, limit=limit, max_age_s=max_age_s
            )
        )

    def get_trades(
        self,
        symbol: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        *,
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """As `datalayer.UnifiedDataProvider.get_trades`."""
        return self.run(self._provider.get_trades(symbol, start, end, limit, as_of=as_of))

    def subscribe(
        self,
        symbol: str,
        stream: Timeframe | str,
        *,
        since: datetime | None = None,
        max_lag: int = 1_000,
        when_slow: WhenSlow = "error",
        include_forming: bool = False,
    ) -> Subscription:
        """As `datalayer.UnifiedDataProvider.subscribe`; what it returns is an iterator that blocks."""
        subscription = self._provider.subscribe(
            symbol,
            stream,
            since=since,
            max_lag=max_lag,
            when_slow=when_slow,
            include_forming=include_forming,
        )
        return Subscription(subscription, self._thread)

    def get_coverage(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
    ) -> CoverageReport:
        """As `datalayer.UnifiedDataProvider.get_coverage`."""
        return self.run(self._provider.get_coverage(symbol, timeframe, start, end, as_of=as_of))

    def get_missing_intervals(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
        stored_only: bool = False,
    ) -> pd.DataFrame:
        """As `datalayer.UnifiedDataProvider.get_missing_intervals`."""
        return self.run(
            self._provider.get_missing_intervals(
                symbol, timeframe, start, end, as_of=as_of, stored_only=stored_only
            )
        )

    def list_stored_ranges(
        self, symbols: Iterable[str] | None = None, *, as_of: datetime | None = None, count_rows: bool = False
    ) -> list[StoredRange]:
        """As `datalayer.UnifiedDataProvider.list_stored_ranges`."""
        return self.run(self._provider.list_stored_ranges(symbols, as_of=as_of, count_rows=count_rows))

    def list_feed_gaps(
        self,
        symbols: Iterable[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        states: Iterable[GapState] = ("open", "lost"),
    ) -> list[FeedGap]:
        """As `datalayer.UnifiedDataProvider.list_feed_gaps`."""
        return self.run(self._provider.list_feed_gaps(symbols, start, end, states=states))

    def get_health(self, timeout_s: float = 5.0) -> ProviderHealth:
        """As `datalayer.UnifiedDataProvider.get_health`."""
        return self.run(self._provider.get_health(timeout_s))

    def warm_up(self, symbols: Iterable[str] | None = None) -> None:
        """As `datalayer.UnifiedDataProvider.warm_up`."""
        self.run(self._provider.warm_up(symbols))


class Subscription:
    """`datalayer.provider.Subscription` as an iterator that blocks until the next update.

    It may be closed in another thread, which ends the iteration.
    """

    def __init__(self, subscription: asynchronous.Subscription, thread: LoopThread) -> None:
        self._subscription = subscription
        self._thread = thread

    @property
    def waiting(self) -> int:
        """Number of updates that wait to be taken."""
        return self._subscription.waiting

    def close(self) -> None:
        """End it. May be repeated."""

        async def close() -> None:
            self._subscription.close()

        if not self._thread.is_closed:
            with suppress(ProviderClosedError):
                self._thread.run(close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update:
        try:
            return self._thread.run(self._subscription.__anext__())
        except (StopAsyncIteration, ProviderClosedError):
            raise StopIteration from None

    def __enter__(self) -> Self:
        async def begin() -> None:
            self._subscription.begin()

        self._thread.run(begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(
    url: str | None = None,
    *,
    settings: Settings | None = None,
    symbols: Iterable[str] | None = None,
    timeframes: Iterable[Timeframe | str] = tuple(Timeframe),
    indicators: Sequence[Indicator] = (),
    cache: DataCacheManager | None = None,
    provider_settings: ProviderSettings | None = None,
) -> UnifiedDataProvider:
    """Return a blocking provider, to be opened with `with`; otherwise as `datalayer.connect`."""
    settings = settings or Settings.load()
    if url is None and settings.url is None:
        logger.warning("%s", settings.embedded_notice)
    return UnifiedDataProvider(
        settings.for_interactive_use(url),
        symbols=symbols,
        timeframes=timeframes,
        indicators=indicators,
        cache=cache,
        provider_settings=provider_settings,
    )
